import json

import pytest

from dpo_core.model.identity import context_length


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({}, None),
        # Phi-3-like: beyond 4,096 tokens the frequencies are those of the longest text in the pass
        (
            {
                "max_position_embeddings": 131_072,
                "original_max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "longrope"},
            },
            4096,
        ),
        (
            {
                "max_position_embeddings": 131_072,
                "rope_scaling": {"type": "longrope", "original_max_position_embeddings": 4096},
            },
            4096,
        ),
        # a set of frequencies for each type of layer
        (
            {
                "max_position_embeddings": 8192,
                "rope_parameters": {
                    "full_attention": {"rope_type": "longrope", "original_max_position_embeddings": 2048},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            2048,
        ),
        ({"max_position_embeddings": 8192, "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 8192),
    ],
)
def test_a_text_may_be_as_long_as_no_neighbour_in_the_pass_can_change_it(tmp_path, config, limit):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(tmp_path) == limit
