"""An outcome as Markdown."""

from isometry.report.markdown import plain, table
from isometry.report.outcomes.words import ARMS, PATCH, arm_table, best_arm, facts, headline, sentences, state
from isometry.treatment.outcome import Outcome

__all__ = ["outcome_markdown"]


def outcome_markdown(outcome: Outcome) -> str:
    """Verdict, every arm, and the change to make by hand."""
    parts = [f"# {plain(headline(outcome))}", plain("  ·  ".join(facts(outcome)))]
    parts += [plain(words) for words in sentences(outcome)]
    parts.append(f"Before: {plain(state(outcome.before))}.")
    parts += [f"{plain(finding.summary)}." for finding in outcome.before.findings[:1]]
    if best_arm(outcome) is not None:
        parts.append(f"After: {plain(state(outcome.after))}.")
    if len(outcome.trials) > 1:
        parts += [f"## {ARMS}", table(arm_table(outcome), numeric=(1, 2, 3, 4))]
    if outcome.patch:
        fence = "`" * 4
        language = "diff" if outcome.patch.startswith("--- ") else "python"
        parts += [f"## {PATCH}", f"{fence}{language}\n{outcome.patch}\n{fence}"]
    return "\n\n".join(parts) + "\n"
