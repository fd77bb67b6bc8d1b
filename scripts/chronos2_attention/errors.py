"""The one error type that a user can mend by changing an input."""


class InputError(ValueError):
    """Something the user gave (a name, a file, a setting) cannot be used.

    The message is one line in three parts: what is wrong, where, and how to
    mend it. Scripts print it as it is, without a traceback, and exit with
    status 1.

    Parameters
    ----------
    what:
        What is wrong, for example ``"unknown suite 'foo'"``.
    where:
        The file, key or name at fault.
    mend:
        What the user can do about it.
    """

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        parts = [what, f"in {where}" if where else "", mend]
        super().__init__("; ".join(" ".join(part.split()) for part in parts if part))
