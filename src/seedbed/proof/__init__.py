"""The same run again: does a result hold, and if not, what differs first.

Each command begins in the module of its name; what it stands on:

verify, diagnose
    execution and work (one run in a fresh process, the two sides of the pipe), perturbing (its surroundings), trace, following,
    steps and hashing (what is seen of it: by epoch, and inside of a step), places (where two traces part), apart (how far), causes (why),
    golden (digests that were written down), workspace, show.
diff
    side (a record, as untrusted data), inputs, rows, trees (code through git), outputs, explaining (which input can explain which
    output), overrides, show_diff.
replay
    finding (a record by path or key), untrusted and naming (what a record may ask for), here and promise (what is the same here),
    checkout (a worktree), retrain, show_replay.
audit
    rules/ (one module a kind of rule). With --dynamic: dynamic, on entropy (draws, callers, sources, libraries, replaced, tape).
"""
