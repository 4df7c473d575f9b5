import pickle

from infra.errors import InfraError, ObjectMissing


def test_an_error_survives_a_process_boundary_with_its_three_parts():
    error = pickle.loads(pickle.dumps(ObjectMissing("gone", where="s3://b/k", do="look")))
    assert type(error) is ObjectMissing
    assert (error.says, error.where, error.do) == ("gone", "s3://b/k", "look")


def test_the_message_is_three_lines():
    assert str(InfraError("gone", where="here", do="look")) == "gone\n  where: here\n  do:    look"
