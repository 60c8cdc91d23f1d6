"""The panel of judges of a refinement, in the order in which they are asked.

A new judge is a file in ``judges`` with a function ``open_judge``, and its name in ``JUDGES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.opal.refine.decisions import Judge
from components.opal.refine.judge import JudgeInputs, JudgeModule, OpenedJudge
from components.opal.refine.judges import mllm, printed_text, schema, support, title

# Form first, then content, then the chat model for what is left.
JUDGES: tuple[JudgeModule, ...] = (title, schema, printed_text, support, mllm)


@dataclass(frozen=True)
class JudgePanel:
    """Judges that are ready, and which attributes a picture can tell."""

    opened: Sequence[OpenedJudge]
    visible: frozenset[str]

    @property
    def judges(self) -> list[Judge]:
        """The judges in the order they are asked."""
        return [each.judge for each in self.opened]

    @property
    def report(self) -> dict[str, Any]:
        """What calibration found, of every judge that calibrates."""
        return {name: value for each in self.opened for name, value in each.report.items()}

    @property
    def prompts(self) -> dict[str, str]:
        """What judges tell a chat model."""
        return {task: text for each in self.opened for task, text in each.prompts.items()}

    def figures(self) -> dict[str, float]:
        """Figures of the judges for the record.

        Raises:
            TooManyFailuresError: too many listings got no usable answer from a chat model.
        """
        return {name: value for each in self.opened for name, value in each.figures().items()}

    def close(self) -> None:
        """Let go of what judges hold open."""
        for each in self.opened:
            each.close()


def open_panel(inputs: JudgeInputs) -> JudgePanel:
    """The judges that the parameters ask for.

    Raises:
        ModelFileError, ChatConfigurationError, ChatModelFileError: a model cannot be used.
    """
    opened: list[OpenedJudge] = []
    for module in JUDGES:
        before = [each.judge for each in opened]
        if made := module.open_judge(replace(inputs, before=before)):
            opened.append(made)
    measured = [each.visible for each in opened if each.visible is not None]
    return JudgePanel(opened, measured[-1] if measured else frozenset(inputs.schema.closed_attributes()))
