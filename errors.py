"""The one error of this project: something was asked for that cannot be done, and its text says so in one line."""


class UserError(ValueError):
    """The user's request cannot be followed.

    Its message is one line: what was given, what was expected, and what to do. The programs print that line and end
    with a non-zero exit status. Any other exception, a plain ValueError among them, is a defect and keeps its
    traceback.

    Example:
        >>> from geodesic import losses
        >>> from geodesic.errors import UserError
        >>> try:
        ...     losses.build("arcfase", num_classes=10)
        ... except UserError as error:
        ...     print(str(error).split(";")[0])
        unknown loss 'arcfase'
    """
