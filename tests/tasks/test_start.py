"""What a run takes over of the model that it starts from."""

from dpo_core.model.identity import digest_asked
from tasks.runtime.start import LICENCE, licence_of_start
from tests.tiny import build_tiny_model


def test_the_licence_goes_from_round_to_round_and_a_card_changes_no_digest(name, registered, tmp_path):
    folder = build_tiny_model(tmp_path / "model")
    plain = digest_asked(folder)
    assert licence_of_start("org/model", folder) is None
    registered("a", **{LICENCE: "mit"})
    assert licence_of_start(f"models:/{name}/1", folder) == "mit"
    assert licence_of_start(f"models:/{name}/2", folder) is None  # not there
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert licence_of_start("org/model", folder) == licence_of_start(f"models:/{name}/1", folder) == "apache-2.0"
    assert digest_asked(folder) == plain
