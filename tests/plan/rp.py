"""Rank programs in text form (.rp), taken apart so that tests can damage them on purpose.

Instructions are objects: buffers and actions refer to them, so that lines can be moved, dropped or
doubled and the numbers come out right when the program is written again.
"""


class Instr:
    def __init__(self, line):
        self.line = line

    @property
    def op(self):
        return self.line.split(" ", 1)[0]

    @property
    def note(self):
        return self.line.split(";", 1)[1].strip()

    def field(self, name):
        for word in self.line.split(";", 1)[0].split():
            if word.startswith(name + "="):
                return int(word[len(name) + 1:])
        return None

    def args(self):
        words = self.line.split(";", 1)[0].split()
        if "arg" not in words:
            return []
        at = words.index("arg") + 1
        end = words.index("int") if "int" in words else len(words)
        return [int(w) for w in words[at:end]]


class Program:
    def __init__(self, text):
        self.head, self.bufs, self.acts, self.instrs = [], [], [], []
        bufs, acts = [], []
        for line in text.splitlines():
            word = line.split(" ", 1)[0]
            if word == "buf":
                bufs.append(line.split())
            elif word == "act":
                acts.append(line.split())
            elif word in HEAD:
                self.head.append(line)
            elif word != "end":
                self.instrs.append(Instr(line))
        for _, kind, off, size, first, last, name in bufs:
            self.bufs.append([kind, int(off), int(size), self.instrs[int(first)], self.instrs[int(last)], name])
        for _, kind, stage, mb, first, count in acts:
            first, count = int(first), int(count)
            self.acts.append([kind, int(stage), int(mb), self.instrs[first:first + count]])

    def text(self):
        at = {id(i): k for k, i in enumerate(self.instrs)}
        out = list(self.head)
        for kind, off, size, first, last, name in self.bufs:
            out.append(f"buf {kind} {off} {size} {at[id(first)]} {at[id(last)]} {name}")
        for kind, stage, mb, instrs in self.acts:
            first = at[id(instrs[0])] if instrs else 0
            out.append(f"act {kind} {stage} {mb} {first} {len(instrs)}")
        return "\n".join(out + [i.line for i in self.instrs] + ["end", ""])

    def find(self, op, **fields):
        return [i for i in self.instrs if i.op == op and all(i.field(k) == v for k, v in fields.items())]

    def action(self, kind, stage, mb):
        return next(a for a in self.acts if a[:3] == [kind, stage, mb])

    def remove(self, instrs):
        """Drops instructions; lives that began or ended there move to the next or previous one."""
        gone = {id(i) for i in instrs}
        order = self.instrs
        at = {id(i): k for k, i in enumerate(order)}

        def kept(instr, step):
            k = at[id(instr)]
            while id(order[k]) in gone:
                k += step
            return order[k]

        self.bufs = [b[:3] + [kept(b[3], 1), kept(b[4], -1), b[5]] for b in self.bufs
                     if any(id(i) not in gone for i in order[at[id(b[3])]:at[id(b[4])] + 1])]
        for a in self.acts:
            a[3] = [i for i in a[3] if id(i) not in gone]
        self.instrs = [i for i in order if id(i) not in gone]

    def swap(self, a, b):
        """Swaps the lines of two instructions."""
        a.line, b.line = b.line, a.line

    def delay_receives(self):
        """Every receive right before the action that reads it: the naive order."""
        for receive in self.find("recv"):
            where = receive.args()[0]
            at = self.instrs.index(receive)
            use = next(k for k in range(at + 1, len(self.instrs)) if where in self.instrs[k].args())
            target = next((a[3][0] for a in self.acts if any(i is self.instrs[use] for i in a[3])), None)
            if target is None:
                continue
            self.instrs.pop(at)
            self.instrs.insert(self.instrs.index(target), receive)


HEAD = ("glmc-program", "model", "size", "setting", "config", "kernel", "map", "unit", "tensor", "balance")


def split_programs(text):
    """The programs of a dump, one per pipeline rank."""
    mark = "glmc-program"
    return [Program(mark + part) for part in text.split(mark)[1:]]
