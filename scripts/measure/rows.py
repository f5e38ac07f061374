"""The table of the benchmark: what was measured, what it must reach, the verdict."""

import os


def best(samples, names, lowest=True):
    """Returns the best median of those that were measured, with its name."""
    found = [(samples.med(name), name.split(".")[0]) for name in names if samples.med(name) is not None]
    return (min(found) if lowest else max(found)) if found else (None, None)


def row(what, value, unit, goal, limit_text, higher=True):
    """One row; `goal` is in the unit of `value`."""
    if value is None or goal is None or goal == 0:
        return {"what": what, "value": value, "unit": unit, "goal": goal, "limit": limit_text, "ratio": None, "verdict": "not measured"}
    ratio = value / goal if higher else goal / value
    verdict = "reached" if ratio >= 1 else "MISSED"
    return {"what": what, "value": value, "unit": unit, "goal": goal, "limit": limit_text, "ratio": ratio, "verdict": verdict}


def ingest_rows(s, data):
    rate = lambda name: data / s.med(name) if s.med(name) else None
    limit = min(s.med("ingest_mb_s"), s.med("disk_write"))
    full = rate("ours.full")
    deduplicating, who = best(s, ["restic.full", "borg.full", "desync.full"])
    table = [row("first full ingest", full, "MB/s", 0.8 * limit, f"0.8 x min(codec {s.med('ingest_mb_s'):.0f}, disk {s.med('disk_write'):.0f})")]
    if s.med("restic.full"):
        table.append(row("... against restic", full, "MB/s", 5 * rate("restic.full"), "5 x restic"))
    if deduplicating:
        table.append(row("... against the fastest that deduplicates", full, "MB/s", data / deduplicating, who))
    for label, times in (("unchanged", 10), ("changed", 5)):
        if s.med(f"restic.{label}"):
            name = "second ingest, unchanged" if label == "unchanged" else "second ingest, 1 % changed"
            table.append(row(name, rate(f"ours.{label}"), "MB/s", times * rate(f"restic.{label}"), f"{times} x restic --force"))
    table.append(row("cp IMG create/x", rate("ours.cp"), "MB/s", 0.7 * full, "0.7 x command line"))
    for peer in ("restic", "borg"):
        if s.med(f"{peer}.size"):
            table.append(row(f"store after the series, against {peer}", s.med("ours.size") / 1e6, "MB", 0.7 * s.med(f"{peer}.size") / 1e6, f"0.7 x {peer}", higher=False))
    return table


def read_rows(s, data):
    decode, chunk_us = s.med("decompress_mb_s"), s.med("chunk_p50_us")
    cores = os.cpu_count()
    table = [
        row("cold sequential, read-ahead raised", s.med("ours.sequential.raised"), "MB/s", 0.5 * decode, f"0.5 x decompression {decode:.0f}"),
        row("cold sequential, default read-ahead", s.med("ours.sequential.default"), "MB/s", 0.3 * decode, f"0.3 x decompression {decode:.0f}"),
        row("warm sequential", s.med("ours.sequential.warm"), "MB/s", 0.85 * s.med("plain.sequential.warm"), "0.85 x plain file"),
        row("cold random 4 KiB, depth 1, p50", s.med("ours.random.1.p50"), "us", 2 * chunk_us, f"2 x one chunk {chunk_us:.0f} us", higher=False),
        row("cold random 4 KiB, depth 4", s.med("ours.random.4.rate"), "/s", 0.5 * cores * 1e6 / chunk_us, "0.5 x cores / one chunk"),
    ]
    peer, who = best(s, ["restic.sequential", "borg.sequential", "desync.sequential"], lowest=False)
    if peer:
        table.insert(1, row("... against the best peer's mount", s.med("ours.sequential.raised") or s.med("ours.sequential.default"), "MB/s", 4 * peer, f"4 x {who}"))
    if s.med("plain.random.disk.p50"):
        table.append(row("random 4 KiB, disk cold too, p50", s.med("ours.random.disk.p50"), "us", 2 * s.med("plain.random.disk.p50"), "2 x raw file", higher=False))
    peer, who = best(s, ["restic.random.disk.p50", "borg.random.disk.p50", "desync.random.disk.p50"])
    if peer:
        table.append(row("... against the best peer's mount", s.med("ours.random.disk.p50"), "us", peer / 8, f"{who} / 8", higher=False))
    limit = min(decode, s.med("disk_write"))
    table.append(row("restore to a sparse file", data / s.med("ours.restore"), "MB/s", 0.7 * limit, f"0.7 x min(decompression {decode:.0f}, disk {s.med('disk_write'):.0f})"))
    table.append(row("mount to the first 4 KiB", s.med("ours.first_read_ms"), "ms", 50, "50 ms", higher=False))
    return table


def table(samples):
    data = samples.med("data_bytes") / 1e6
    return ingest_rows(samples, data) + read_rows(samples, data)


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def show(table, about, samples):
    print(f"\n{about['data_mb']:.0f} MB of data, {about['cores']} cores, Linux {about['kernel']}, "
          f"zstd level {about['level']}, medians of {about['rounds']} rounds\n")
    head = ("what", "measured", "must reach", "", "ratio", "verdict")
    lines = [(r["what"], f"{number(r['value'])} {r['unit']}", f"{number(r['goal'])} {r['unit']}", r["limit"],
              "-" if r["ratio"] is None else f"{r['ratio']:.2f}", r["verdict"]) for r in table]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    for line in [head, tuple("-" * width for width in widths), *lines]:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |")
    print("\n| seconds | full | unchanged | 1 % changed | MB stored | mount, cold sequential, MB/s | mount, disk cold, us |")
    print("|---|---|---|---|---|---|---|")
    for peer in ("ours", *about["peers"]):
        sequential = "ours.sequential.raised" if peer == "ours" else f"{peer}.sequential"
        cells = [samples.med(f"{peer}.{label}") for label in ("full", "unchanged", "changed")]
        cells = [f"{seconds:.2f}" if seconds else "" for seconds in cells]
        cells.append(number((samples.med(f"{peer}.size") or 0) / 1e6))
        cells += [number(found) if found else "" for found in (samples.med(sequential), samples.med(f"{peer}.random.disk.p50"))]
        print(f"| {'Tintype' if peer == 'ours' else peer} | " + " | ".join(cells) + " |")
