"""Stage for tests of the benchmark."""

from stages.base import Failed, FailureKind, Ok, Stage


class Double(Stage):
    """Return twice the seed of the record plus its inputs.

    Args:
        refuse: id of a record that fails.
    """

    def __init__(self, refuse=None):
        self.refuse = refuse

    def run(self, batch):
        return [
            Failed(FailureKind.BAD_INPUT, "refused", "number: odd")
            if item.record.id == self.refuse
            else Ok(2 * item.record.seed + sum(item.inputs.values()))
            for item in batch
        ]
