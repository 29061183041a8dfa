#!/usr/bin/env python3
"""Writes vectors.json from the executable model of the merge.

    python3 gen_vectors.py DIRECTORY-OF-crdt_model.py > vectors.json
    python3 gen_vectors.py DIRECTORY-OF-crdt_model.py 1000 3000 > /tmp/more.json && TOFT_VECTORS=/tmp/more.json go test -run Vectors

Every history is a list of commits in causal order with what their authors did (acts) and, where listed, the operation the model
made of it (ops); links are removals (cut = seq and id of the target's last commit that counts). view and void are what every
replica must show that holds all of it: document -> [document, conflicts, n of the revision].
"""
import json, random, sys

sys.path.insert(0, sys.argv[1])
import crdt_model as M

OUT, NAME = [], [""]
WITH_OPS = [False]
PICK = [lambda: True]
commit = M.Replica.commit


def recorded(r, *acts, t=None, base=None):
    c = commit(r, *acts, t=t, base=base)
    if c is not None:
        c.acts, c.based, c.twins = acts, base is not None, r.forked()
    return c


def slot(s):
    return s[0] if s[0] in "ad" and len(s) == 1 else list(s[1:])


def op(o, dot):
    life = 0
    sets = []
    for (s, _), v in o.sets.items():
        if s == M.A or s == M.D:
            life = v[0] if s == M.A else -v[0]
        else:
            stamp, value = v
            sets.append([list(s[1:]), {"obj": 1} if value == M.OBJ else {"v": value}, None if stamp[1:] == dot else list(stamp)])
    clears = {p: {a: x for a, x in m.items() if x[0]} for p, m in o.clears.items()}
    return {
        "life": life,
        "sets": sorted(sets, key=lambda x: x[0]),
        "drops": sorted(([slot(s), *d] for s, d in o.drops), key=repr),
        "adds": sorted([list(p), t] for p, t in o.adds.items()),
        "clears": sorted([list(p), sorted([a, *x] for a, x in m.items())] for p, m in clears.items() if m),
    }


def capture(rng, rs, every=False, n=4, snaps=None, links=()):
    if not PICK[0]():
        return
    for r in rs:
        [r.pull(o) for o in rs]
    commits = M.everything(rs)
    ref = M.fresh(commits, links)
    out = []
    for c in commits:
        x = {"id": c.cid, "actor": c.actor, "seq": c.seq, "parents": [p[2] for p in c.parents], "time": c.time, "team": sorted(c.team)}
        if c.prev:
            x["prev"] = c.prev
        if not c.based:
            x["acts"] = [list(a) for a in c.acts]
        if WITH_OPS[0] or c.based or c.twins:
            x["ops"] = [[d, op(o, c.dot)] for d, o in c.ops.items()]
        out.append(x)
    view = {d: [e.doc(), [list(c) for c in e.content()[3]] if e.visible() else [], int(e.rev(d).split("-")[0]) if e.visible() else 0]
            for d, e in ref.state.ent.items()}
    OUT.append({"name": NAME[0], "commits": out, "links": [[l.id, l.actor, l.cut[0], l.cut[1]] for l in links],
                "view": view, "void": sorted(ref.void)})


def main():
    M.Replica.commit, M.finish = recorded, capture
    rng = random.Random(7)
    NAME[0] = "small"
    PICK[0] = lambda: rng.random() < 0.17
    first, last = map(int, sys.argv[2:4] or (1, 160))
    if len(sys.argv) <= 2:
        M.small(random.Random(1), 0)
    PICK[0] = lambda: True
    for seed in range(first, last + 1):
        kind = seed % 4
        NAME[0] = "random %d%s%s" % (seed, " cuts" if kind in (1, 3) else "", " forks" if kind in (2, 3) else "")
        WITH_OPS[0] = seed % 2 == 0 or kind != 0
        r = random.Random(seed)
        M.rand(r, r.choice((6, 10, 16, 24)), cuts=kind in (1, 3), forks=kind in (2, 3))
    print("[" + ",\n".join(json.dumps(h, separators=(",", ":")) for h in OUT) + "]")


main()
