"""What submitit executes for a run of a sweep: a plain command that SLURM may interrupt and start again.

Import it where submitit is installed only.
"""

from submitit.helpers import CommandFunction, DelayedSubmission


class RunCommand(CommandFunction):
    """A command that is simply repeated when its job ran out of time or was preempted: it continues by itself."""

    def checkpoint(self) -> DelayedSubmission:
        """What the next job of this one executes; submitit asks for it."""
        return DelayedSubmission(self)
