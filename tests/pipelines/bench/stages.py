"""A stage for tests of what measures."""

from stages.base import Failed, Kind, Ok, Stage


class Double(Stage):
    """Twice the number of the record; odd ones may be refused."""

    def __init__(self, refuse=None):
        self.refuse = refuse

    def run(self, batch):
        return [
            Failed(Kind.BAD_INPUT, "refused", "number: odd")
            if item.record.id == self.refuse
            else Ok(2 * item.record.seed + sum(item.inputs.values()))
            for item in batch
        ]
