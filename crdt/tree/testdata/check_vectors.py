#!/usr/bin/env python3
"""A second implementation of Toft's tree, from the words of docs/format.md alone.

Standard library only. Run `python3 check_vectors.py [vectors.json]`: it builds every
tree of the vectors and compares hashes, and takes or refuses every node. Exit 0 =
all agree. Slow and simple on purpose.
"""
import hashlib, hmac, json, os, struct, sys

LEAF, INNER = 6 * 1024 - 8, 8 * 1024 - 8           # weight of a run, less that of the node
MAX_KEY, MAX_VALUE, MAX_LINKS, MAX_LEVEL = 1920, 65536, 4096, 31


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


class Tree:
    def __init__(self, shape_key, node_key):
        self.shape_key, self.node_key = shape_key, node_key

    def h(self, key, level):
        return struct.unpack(">8I", mac(self.shape_key, key))[level % 8]

    def ends(self, key, level):
        if level == 0:
            return self.h(key, 0) < 2**32 // 32
        return level < 8 and self.h(key, level) < 2**32 // 64

    def runs(self, level, items):
        """items: (key, weight, …); a run ends at every key that ends a node, then is split."""
        run = []
        for it in items:
            run.append(it)
            if self.ends(it[0], level):
                yield from self.split(level, run)
                run = []
        if run:
            yield from self.split(level, run)

    def split(self, level, run):
        if len(run) == 1 or sum(it[1] for it in run) <= (LEAF if level == 0 else INNER):
            yield run
            return
        at = min(range(len(run) - 1), key=lambda i: (self.h(run[i][0], level), run[i][0]))
        yield from self.split(level, run[: at + 1])
        yield from self.split(level, run[at + 1 :])

    def build(self, entries):
        """entries: sorted (key, value, number of links). Returns the root as a node."""
        if not entries:
            return self.node(0, [])
        items = [(k, len(k) + len(v) + 32 * n + 12, (v, n)) for k, v, n in entries]
        level = 0
        while level == 0 or len(items) > 1:
            up = []
            for run in self.runs(level, items):
                if level > 0 and len(run) == 1:
                    up.append(run[0])
                else:
                    key = run[-1][0]
                    up.append((key, len(key) + 49, self.node(level, run)))
            items, level = up, level + 1
        return items[0][2]

    def node(self, level, run):
        if not run:
            plain, count, kids = head(5, 0), 0, []
        elif level == 0:
            plain = head(5, 1) + head(0, 2) + head(4, len(run))
            for key, _, (value, links) in run:
                plain += head(4, 3) + data(key) + data(value) + head(0, links)
            count, kids = len(run), []
        else:
            plain = head(5, 2) + head(0, 1) + head(0, level) + head(0, 3) + head(4, len(run))
            for key, _, kid in run:
                plain += head(4, 4) + data(key) + data(kid["hash"]) + head(0, kid["count"]) + head(0, kid["level"])
            count, kids = sum(it[2]["count"] for it in run), [it[2] for it in run]
        return {"plain": plain, "hash": mac(self.node_key, plain), "count": count, "level": level, "kids": kids}

    def takes(self, plain, links):
        """Whether a reader takes these bytes with so many links."""
        try:
            items, level = self.parse(plain, links)
        except (ValueError, IndexError):
            return False
        keys = [it[0] for it in items]
        return (keys == sorted(set(keys)) and not any(self.ends(k, level) for k in keys[:-1])
                and (len(items) < 2 or sum(it[1] for it in items) <= (LEAF if level == 0 else INNER)))

    def parse(self, b, links):
        n, b = want(b, 5)
        level, items = 0, []
        if n == 2:
            field, b = want(b, 0)
            level, b = want(b, 0)
            check(field == 1 and 1 <= level <= MAX_LEVEL)
        if n:
            field, b = want(b, 0)
            check(n <= 2 and field == (2 if n == 1 else 3))
            size, b = want(b, 4)
            check(1 <= size <= 1024 and (level == 0 or size >= 2))
            for _ in range(size):
                n, b = want(b, 4)
                check(n == (3 if level == 0 else 4))
                key, b = take(b)
                check(1 <= len(key) <= MAX_KEY)
                if level == 0:
                    value, b = take(b)
                    used, b = want(b, 0)
                    check(len(value) <= MAX_VALUE and used <= MAX_LINKS)
                    items.append((key, len(key) + len(value) + 32 * used + 12))
                else:
                    kid, b = take(b)
                    count, b = want(b, 0)
                    below, b = want(b, 0)
                    used = 1
                    check(len(kid) == 32 and 1 <= count <= 2**43 and below < level)
                    items.append((key, len(key) + 49))
                links -= used
        check(not b and links == 0)
        return items, level


def check(ok):
    if not ok:
        raise ValueError


def head(major, n):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << (8 * size):
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


def data(v):
    return head(2, len(v)) + v


def want(b, major):
    info, size = b[0] & 31, 0
    check(b[0] >> 5 == major and info <= 27)
    n = info
    if info >= 24:
        size = 1 << (info - 24)
        check(len(b) > size)
        n = int.from_bytes(b[1 : 1 + size], "big")
    check(head(major, n) == b[: 1 + size])
    return n, b[1 + size :]


def take(b):
    n, b = want(b, 2)
    check(n <= len(b))
    return b[:n], b[n:]


def entries(v):
    out = [(e["key"].encode(), e.get("text", "").encode() + b"v" * e.get("pad", 0), len(e.get("links", [])))
           for e in v.get("entries", [])]
    s = v.get("series")
    if s:
        out += [(b"%s%08d" % (s["prefix"].encode(), i), b"v" * (s["pad"] + 37 * i % s["spread"]), 0) for i in range(s["count"])]
    return sorted(out)


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "vectors.json")
    v = json.load(open(path))
    t = Tree(v["shape_key"].encode(), v["node_key"].encode())
    bad = 0
    for tree in v["trees"]:
        root = t.build(entries(tree))
        nodes, level = [], [root]
        while level:
            nodes += level
            level = [k for n in level for k in n["kids"]]
        hashes = hashlib.sha256(b"".join(n["hash"] for n in nodes)).hexdigest()
        ok = (root["hash"].hex() == tree["root"] and root["level"] == tree["level"]
              and len(nodes) == tree["count"] and hashes == tree["hashes"])
        for have, told in zip(nodes, tree.get("nodes", [])):
            ok = ok and have["hash"].hex() == told["hash"] and told.get("plain", have["plain"].hex()) == have["plain"].hex()
        bad += not ok
        print("ok  " if ok else "BAD ", tree["name"], len(nodes), "nodes")
    for node in v["nodes"]:
        if t.takes(bytes.fromhex(node["plain"]), node["links"]) != node["ok"]:
            bad += 1
            print("BAD ", node["name"])
    print(len(v["trees"]), "trees,", len(v["nodes"]), "nodes,", bad, "disagree")
    sys.exit(bad > 0)


main()
