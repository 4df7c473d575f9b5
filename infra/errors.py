"""What goes wrong at the edges: every such error says what is wrong, where, and what to do."""

from infra.secrets import without_secrets


class InfraError(RuntimeError):
    """A store, tracking server, download, process or setting that does not do what is needed. It holds no secret."""

    def __init__(self, says: str, *, where: str, do: str) -> None:
        says, where, do = without_secrets(says), without_secrets(where), without_secrets(do)
        super().__init__(f"{says}\n  where: {where}\n  do:    {do}")
        self.says, self.where, self.do = says, where, do

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments need help to be pickled
        return _rebuild, (type(self), self.says, self.where, self.do)


class BadSetting(InfraError):
    """A setting or a model name that the user has to put right; nothing was tried with it."""


class ObjectMissing(InfraError):
    """The store answers, and holds no such key (or no complete folder)."""


class Damaged(InfraError):
    """The bytes are there and are not those that were written."""


class Unavailable(InfraError):
    """No answer, or one that asks to come again: the same a little later may go through."""


class Rejected(InfraError):
    """An answer that says no to what was asked, and would every time."""


class ProcessFailed(InfraError):
    """A process of ours ended without doing its work, and what was given is not known to be at fault."""


def _rebuild(kind: type[InfraError], says: str, where: str, do: str) -> InfraError:
    return kind(says, where=where, do=do)
