"""State files of jobs that continue after an interruption, other than training: projection and style transfer.

A state belongs to a plan, which holds all that decides the results. Only the same plan continues from it.

    state = StateFile(Path("out.state.safetensors"), plan, "remove it to begin anew", conflict)
    saved = state.read()                    # None where the job begins
    state.write({"step": 3}, tensors)
    raise state.interrupted(signal.SIGINT, "at step 3 of 100")
    state.delete()                          # the job is finished
"""

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ganzoo.errors import CheckpointError, Interrupted, ZooError
from ganzoo.io.files import atomic_write
from ganzoo.io.hashes import digest
from ganzoo.io.tensors import open_tensors

KEY = "ganzoo-job"  # in the metadata of a .safetensors


@dataclass(frozen=True)
class State:
    """The state of an interrupted job.

    Args:
        progress: how far the job was, as JSON values
        tensors: what its computation continues from, on the CPU
    """

    progress: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class StateFile:
    """The file that an interrupted job leaves and continues from.

    Args:
        path: a .safetensors
        plan: JSON values by name that must be equal where the job continues
        cure: what to do about a file that cannot be used, as the end of a sentence
        conflict: builds the error for the state of another job from the names of what differs between the plans
    """

    path: Path
    plan: Mapping[str, Any]
    cure: str
    conflict: Callable[[list[str]], ZooError]

    def read(self) -> State | None:
        """Return the state of this job, or None where there is no file.

        Raises CheckpointError for a file that is damaged or of another version, and `conflict` for another job's.
        """
        if not self.path.exists():
            return None
        try:
            with open_tensors(self.path) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        except (SafetensorError, OSError, ValueError) as err:
            raise self._damaged(type(err).__name__) from None
        if KEY not in metadata:
            raise CheckpointError(
                "is no state that this version of ganzoo can continue from", place=str(self.path), cure=self.cure
            )
        try:
            header = json.loads(metadata[KEY])
            state, differing = State(dict(header["progress"]), tensors), differences(header["plan"], self.plan)
            whole = header["digest"] == digest(tensors)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
            raise self._damaged(type(err).__name__) from None
        if not whole:
            raise self._damaged("its tensors do not give the digest it was written with")
        if differing:
            raise self.conflict(differing)
        return state

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"is damaged ({reason})", place=str(self.path), cure=self.cure)

    def write(self, progress: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write a state in place of an earlier one, and wait for the disk.

        Raises CheckpointError where that cannot be; an earlier state is then still whole.
        """
        values = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        header = json.dumps({"plan": self.plan, "progress": progress, "digest": digest(values)})
        try:
            with atomic_write(self.path, synced=True) as temporary:
                save_file(values, temporary, metadata={KEY: header})
        except (OSError, SafetensorError) as err:
            reason = (err.strerror if isinstance(err, OSError) else None) or " ".join(str(err).split())
            raise CheckpointError(f"cannot be written ({reason})", place=str(self.path), cure="free space") from None

    def interrupted(self, number: int, progress: str) -> Interrupted:
        """Return the error of a job that a signal stopped after its state was written.

        Args:
            number: the signal's
            progress: how far the job is, as "at step 3 of 100"
        """
        name = signal.Signals(number).name
        return Interrupted(f"stopped by {name} {progress}; the same command continues from {self.path}.")

    def delete(self) -> None:
        """Remove the file of a finished job."""
        self.path.unlink(missing_ok=True)


def differences(written: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """Names of the values of a plan that are not what a file holds, once both are JSON values."""
    return [name for name in plan if written.get(name) != json.loads(json.dumps(plan[name]))]
