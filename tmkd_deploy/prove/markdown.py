"""A proof as a page of Markdown."""

from __future__ import annotations

from tmkd_deploy.prove.outcome import Figure
from tmkd_deploy.prove.proof import ClaimProof, Proof, State
from tmkd_deploy.report.formatting import duration

_OUTCOMES = ("shown", "contradicted", "not run")


def page(proof: Proof) -> str:
    """The page; it repeats what the JSON holds and adds nothing."""
    counts = {outcome: 0 for outcome in _OUTCOMES}
    for each in proof.claims:
        counts[each.outcome] += 1
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    parts = [
        f"# {proof.name}",
        f"{len(proof.claims)} claims of `tmkd-deploy`: {summary}."
        + ("" if proof.complete else " **Incomplete.**"),
        _header(proof),
        "The signed-off value is a seal, the SHA-256 of the rest of the JSON file's content. It "
        "shows that the file was not altered by accident; it is no signature.",
        _table(proof),
    ]
    if proof.with_root:
        parts += ["## What root would add", "\n".join(f"- {line}" for line in proof.with_root)]
    parts += ["## Evidence", *(_evidence(each) for each in proof.claims if _has_evidence(each))]
    return "\n\n".join(parts) + "\n"


def _header(proof: Proof) -> str:
    board = proof.board
    rows = {
        "Board": board.model or board.name,
        "Module": ", ".join(board.modules),
        "Processor": f"{board.processor or 'unknown'} ({board.machine})",
        "GPU": board.gpu,
        "JetPack, Jetson Linux": _joined(board.jetpack, board.l4t),
        "TensorRT, ONNX Runtime": _joined(board.tensorrt, board.onnxruntime),
        "CUDA, driver": _joined(board.cuda, board.driver),
        "System, kernel": _joined(board.system, board.kernel),
        "Before": _state(proof.before),
        "After": "unknown" if proof.after is None else _state(proof.after),
        "tmkd-deploy": f"{proof.package_version}, commit {proof.commit or 'unknown'}",
        "Sent to the device": f"SHA-256 {proof.agent_sha256}",
        "Date": proof.date,
        "Command": f"`{proof.command}`",
        "Time on the device": duration(proof.seconds),
        "Signed-off": f"SHA-256 {proof.seal}",
    }
    lines = [f"| {name} | {_cell(text or 'none')} |" for name, text in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _table(proof: Proof) -> str:
    lines = [
        f"| `{each.id}` | {each.outcome} | {_cell(each.claim)} | {_cell(each.reason)} |"
        for each in proof.claims
    ]
    return "\n".join(["| Name | Outcome | Claim | Reason |", "|---|---|---|---|", *lines])


def _has_evidence(each: ClaimProof) -> bool:
    return bool(each.figures or each.lines)


def _evidence(each: ClaimProof) -> str:
    parts = [f"### {each.id}: {each.outcome} ({duration(each.seconds)})"]
    if each.figures:
        parts.append(
            "\n".join(
                f"- `{name}`: {_cell(_figure(value))}" for name, value in each.figures.items()
            )
        )
    if each.lines:
        # indented, because no text can end such a block
        parts.append("\n".join(f"    {line}" for line in each.lines))
    return "\n\n".join(parts)


def _figure(value: Figure) -> str:
    if isinstance(value, list):
        return ", ".join(_figure(each) for each in value) or "none"
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _state(state: State) -> str:
    clocks = {True: "locked", False: "not locked", None: "unknown"}[state.clocks_locked]
    mode = f"power mode {state.power_mode or 'none'}"
    return f"{mode}, clocks {clocks}, governor {state.governor or 'unknown'}"


def _joined(*texts: str | None) -> str:
    return ", ".join(text or "none" for text in texts)


def _cell(text: str) -> str:
    """Text of a device or a recipe that cannot leave its cell."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
