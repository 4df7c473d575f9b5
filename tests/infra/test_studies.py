"""The database of the searches: an SQLite file, or the team's PostgreSQL, whose password is shown to nobody."""

import uuid

import optuna
import pytest

from infra.errors import BadSetting, Unavailable
from infra.settings import load_settings
from infra.studies import study_answers, study_storage
from tests.postgres_server import PASSWORD


def storage(monkeypatch, url):
    monkeypatch.setenv("DPO_STUDY_URL", url)
    return study_storage(load_settings())


@pytest.mark.parametrize("url", ["nosuch://me:canarybird@db/x", "postgresql+nosuch://me:canarybird@db/x", "canarybird"])
def test_an_address_that_no_driver_serves_is_told_without_its_password(monkeypatch, url):
    with pytest.raises(BadSetting, match="cannot be opened") as caught:
        storage(monkeypatch, url)
    assert "dpo-pipeline[postgres]" in caught.value.do
    assert "me:canarybird" not in str(caught.value)


def test_a_password_that_is_not_quoted_is_told_without_a_piece_of_it(monkeypatch):
    with pytest.raises(BadSetting, match="cannot be read") as caught:
        storage(monkeypatch, "postgresql://me:ab@cd:canarybird@db/x")
    assert "canary" not in f"{caught.value} {caught.value.where} {caught.value.do}"
    assert "%HH" in caught.value.do


@pytest.fixture
def database(postgres):
    """The address of a new database."""
    return postgres.make(uuid.uuid4().hex)


def test_what_postgresql_refuses_is_told_without_the_password(monkeypatch, postgres, database):
    wrong = database.replace(PASSWORD, "canarybird")
    for url, says in ((wrong, "password authentication failed"), (f"{database}-gone", "does not exist")):
        with pytest.raises(Unavailable, match="does not answer") as caught:
            storage(monkeypatch, url)
        assert says in str(caught.value)
        assert "see that it runs and lets you in" in caught.value.do
        assert not any(secret in str(caught.value) for secret in (PASSWORD, "canarybird"))


def test_a_server_that_was_restarted_between_two_trials_is_asked_again(monkeypatch, postgres, database):
    study = optuna.create_study(storage=storage(monkeypatch, database), study_name="s")
    study.add_trial(optuna.create_trial(value=1.0))
    postgres.stop()
    postgres.start()
    study.add_trial(optuna.create_trial(value=2.0))
    assert [trial.value for trial in study.trials] == [1.0, 2.0]


def test_a_server_that_goes_away_is_told_and_the_study_goes_on_once_it_is_back(monkeypatch, postgres, database):
    study = optuna.create_study(storage=storage(monkeypatch, database), study_name="s")
    postgres.stop()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            study_storage(load_settings())
        with pytest.raises(Unavailable, match="does not answer") as caught, study_answers(load_settings()):
            study.add_trial(optuna.create_trial(value=1.0))
    finally:
        postgres.start()
    assert "a search goes on" in caught.value.do
    assert PASSWORD not in str(caught.value)
    study.add_trial(optuna.create_trial(value=2.0))
    assert [trial.value for trial in study.trials] == [2.0]
