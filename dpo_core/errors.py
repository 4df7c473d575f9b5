"""What a user can put right: every such error says what is wrong, where, and what to do."""


class InputError(ValueError):
    """Bad input or configuration. The command ends with exit code 2 and prints these three lines."""

    def __init__(self, says: str, *, where: str, do: str) -> None:
        super().__init__(f"{says}\n  where: {where}\n  do:    {do}")
        self.says, self.where, self.do = says, where, do

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments need help to be pickled
        return _rebuild, (type(self), self.says, self.where, self.do)


class Diverged(InputError):
    """A training whose loss or gradient is no finite number any more: its recipe cannot be trained."""


def _rebuild(kind: type[InputError], says: str, where: str, do: str) -> InputError:
    return kind(says, where=where, do=do)
