"""Figures of a run as JSON and as a Markdown table."""

import json
import statistics


def spread(times):
    """Median, least and largest of measured seconds, and their number."""
    return {
        "median_s": statistics.median(times),
        "min_s": min(times),
        "max_s": max(times),
        "runs": len(times),
    }


def duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def cell(entry, ours, flop):
    """`46 ms (44 to 51), 52 GFLOP/s, 3.1x`: the ratio is theirs over ours."""
    if "median_s" not in entry:
        first = f"first step {duration(entry['first_s'])}, " if "first_s" in entry else ""
        return first + entry["why"]
    parts = [f"{duration(entry['median_s'])} ({duration(entry['min_s'])} to {duration(entry['max_s'])})"]
    if flop:
        parts.append(f"{flop / entry['median_s'] / 1e9:.3g} GFLOP/s")
    if "peak_bytes" in entry:
        parts.append(f"{entry['peak_bytes'] / 1e6:.0f} MB")
    if "first_s" in entry:
        parts.append(f"first step {duration(entry['first_s'])}")
    if entry is not ours and ours and "median_s" in ours:
        parts.append(f"**{entry['median_s'] / ours['median_s']:.2f}x**")
    if "wrong" in entry:
        parts.append(f"WRONG, off by {entry['wrong']:.1e}")
    if "why" in entry:
        parts.append(entry["why"])
    return ", ".join(parts)


def difference(entries):
    found = [entry["difference"] for entry in entries.values() if "difference" in entry]
    return f"{max(found):.1e}" if found else ""


def reasons(run, name):
    """Why an engine has no time of any work; nothing if it has one."""
    entries = [work["engines"][name] for work in run["works"] if name in work["engines"]]
    if any("median_s" in entry for entry in entries):
        return []
    return sorted({entry["why"] for entry in entries}) or ["has none of these works"]


def markdown(run):
    shown = [name for name in run["engines"] if not reasons(run, name)]
    absent = [
        f"{name} {version}: {'; '.join(reasons(run, name))}"
        for name, version in run["engines"].items()
        if name not in shown
    ]
    lines = [
        f"{run['adapter']}, {run['driver']}; {run['cpu']}, {run['cpus']} threads; {run['date']}; `{run['command']}`.",
        "Median (least to largest), rate, and **how many times as long as this crate**; the last column is",
        "the largest difference of any engine's result from this crate's, over the largest number of it.",
        "",
        "| work, f32 | " + " | ".join(f"{e} {run['engines'][e]}".strip() for e in shown) + " | difference |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for work in run["works"]:
        ours = work["engines"].get("ddim")
        cells = [
            cell(work["engines"][e], ours, work["flop"]) if e in work["engines"] else "-" for e in shown
        ]
        lines.append(f"| {work['title']} | " + " | ".join(cells) + f" | {difference(work['engines'])} |")
    lines += [""] + [f"- {line}" for line in absent + run["remarks"]]
    return "\n".join(lines) + "\n"


def write(run, stem):
    for path, text in ((f"{stem}.json", json.dumps(run, indent=1) + "\n"), (f"{stem}.md", markdown(run))):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
