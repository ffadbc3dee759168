"""A model written down as rank programs of the cuda target, with its kernels and its mathematics in numpy.

    x = table[tokens]; y = x W'                            pipeline rank 0
    z = y + sum_k w[ids_k] * y; loss = sum z^2 / 2         pipeline rank 1, routed over experts
"""
import numpy as np

D, K, E, V, DOCS, MBS = 16, 2, 4, 11, 2, 2
T_MAX = 2 * 12

KERNELS = {
    "toy_embed": "TOY_KERNEL(toy_embed_) { TOY_ROWS(c.env.T); toy_embed(Toy{c}, row, d); }",
    "toy_embed_grad": "TOY_KERNEL(toy_embed_grad_) { if (thread_id() == 0) toy_embed_grad(Toy{c}); }",
    "toy_ids": "TOY_KERNEL(toy_ids_) { TOY_ROWS(c.env.T); if (d == 0) toy_ids(Toy{c}, row); }",
    "toy_expert": "TOY_KERNEL(toy_expert_) { TOY_ROWS(c.env.R); toy_expert(Toy{c}, row, d); }",
    "toy_expert_grad": "TOY_KERNEL(toy_expert_grad_) { if (thread_id() < D) toy_expert_grad(Toy{c}, thread_id()); }",
    "toy_loss": "TOY_KERNEL(toy_loss_) { if (thread_id() == 0) toy_loss(Toy{c}); }",
    "toy_add": "TOY_KERNEL(toy_add_) { TOY_ROWS(c.env.T); toy_add(Toy{c}, row, d); }",
}
# name: (source, threads, shared bytes, blocks)
RUNTIME = {
    "slots": ('#define EXPERTS 4\n#include "slots.cuh"\n', 1024, 4 * (32 * 5 + 32), 1),
    "pack": ('#include "rows.cuh"\n', 256, 0, 1),
    "unpack": ('#define UNPACK 1\n#include "rows.cuh"\n', 256, 0, 1),
    "adam": ('#include "toy.cuh"\nTOY_KERNEL(adam) { for (i64 i = block_id() * 64 + thread_id(); i < c.n[0]; i += 64 * '
             'grid_blocks()) toy_adam(Toy{c}, i); }\n', 64, 0, 2),
    "sumsq": ('#include "toy.cuh"\nTOY_KERNEL(sumsq) { if (thread_id() == 0) toy_sumsq(Toy{c}); }\n', 64, 0, 3),
}


def sources():
    out = {f"{k}_": '#include "toy.cuh"\n' + text + "\n" for k, text in KERNELS.items()}
    out.update({k: f"#define KERNEL_NAME {k}\n" + v[0] for k, v in RUNTIME.items()})
    return out


class Program:
    """Writes the text of one pipeline rank's program."""

    def __init__(self, pp, dp, ep, pp_rank, capacity):
        self.pp, self.dp, self.ep, self.pp_rank, self.capacity = pp, dp, ep, pp_rank, capacity
        self.lines, self.end, self.events, self.stream = [], 256, 0, 0
        self.names = list(KERNELS) + list(RUNTIME)
        self.first, self.last = pp_rank == 0, pp_rank == pp - 1
        self.units, self.tensors = [], []

    def room(self, size):
        at = self.end
        self.end += (size + 255) // 256 * 256
        return at

    def emit(self, text, note, stream=0):
        self.lines.append(f"{text} stream={stream} ; {note}")

    def transfer(self, op, peer, mb, what, buffer):
        self.lines.append(f"{op} peer={peer} row_bytes={4 * D} mb={mb} stream=1 arg {buffer} ; {what}")

    def launch(self, kernel, args, mb):
        k = self.names.index(kernel)
        self.lines.append(f"launch kernel={k} mb={mb} arg {' '.join(map(str, args))} ; {kernel}: F mb {mb}")

    def sync(self, of, to):
        """What follows on stream `to` waits for what was issued to `of`."""
        self.emit(f"record event={self.events}", "order", of)
        self.emit(f"wait event={self.events}", "order", to)
        self.events += 1

    # ---- the step ----

    def add_unit(self, name, group, members, tensors):
        elems = 0
        for t, shape, experts in tensors:
            n = int(np.prod(shape)) * (experts // self.ep if experts else 1)
            self.tensors.append((t, shape, experts, len(self.units), elems))
            elems += (n + 15) // 16 * 16
        elems = (elems + 16 * members - 1) // (16 * members) * (16 * members)
        param, grad = self.room(4 * elems), self.room(4 * elems)
        m, v = self.room(4 * elems // members), self.room(4 * elems // members)
        self.units.append((name, group, elems, param, grad, m, v))
        return param, grad

    def build(self):
        if self.first:
            self.p0, self.g0 = self.add_unit("stage0", "dp", self.dp, [("table", (V, D), 0), ("w", (D, D), 0)])
            self.w_at = 4 * ((V * D + 15) // 16 * 16)
            self.tokens = self.room(4 * MBS * T_MAX)
        if self.last:
            self.p1, self.g1 = self.add_unit("experts", "expert", self.dp // self.ep, [("experts.{e}", (D,), E)])
            self.labels, self.loss = self.room(4 * MBS * T_MAX), self.room(8 * MBS)
        row = T_MAX * D * 4
        self.x, self.y, self.dy, self.dx = ([self.room(row) for _ in range(MBS)] for _ in range(4))
        self.ids = [self.room(4 * T_MAX * K) for _ in range(MBS)]
        self.rows = [self.room(self.capacity * D * 4) for _ in range(4)]
        self.slots, self.dz, self.dslots = self.room(row * K), self.room(row), self.room(row * K)
        for u, (name, *_rest) in enumerate(self.units):
            self.emit(f"gather unit={u}", f"parameters of {name}", 3)
            self.lines.append(f"zero bytes={4 * self.units[u][2]} arg {self.units[u][4]} ; gradients")
        self.sync(3, 0)
        for mb in range(MBS):
            self.forward(mb)
        for mb in range(MBS):
            self.backward(mb)
        self.sync(0, 3)
        for u in range(len(self.units)):
            self.emit(f"reduce unit={u}", "gradients", 3)
        self.emit("optimizer", "update")
        return self.text()

    def forward(self, mb):
        if self.first:
            self.launch("toy_embed", [self.tokens + 4 * mb * T_MAX, self.p0, self.x[mb]], mb)
            self.gemm(0, mb, self.x[mb], self.p0 + self.w_at, self.y[mb], False)
        if self.first and not self.last:
            self.sync(0, 1)
            self.transfer("send", self.pp_rank + 1, mb, "y", self.y[mb])
        if not self.last:
            return
        if not self.first:
            self.transfer("recv", self.pp_rank - 1, mb, "y", self.y[mb])
            self.sync(1, 0)
        self.launch("toy_ids", [self.ids[mb]], mb)
        self.exchange(mb, True)
        self.launch("toy_loss", [self.y[mb], self.slots, self.labels + 4 * mb * T_MAX, self.dz, self.loss + 8 * mb], mb)
        self.exchange(mb, False)
        self.launch("toy_add", [self.dz, self.dslots, self.dy[mb]], mb)

    def exchange(self, mb, forward):
        row = 4 * D
        self.sync(0, 2)
        self.lines.append(f"counts mb={mb} topk={K} experts={E} stream=2 arg {self.ids[mb]} ; counts")
        if forward:
            body = [("dispatch", self.y[mb], 0), "2>0", ("toy_expert", [self.rows[0], self.p1, self.rows[1]]), "0>2",
                    ("collect", 1, self.slots), "2>0"]
        else:
            body = [("dispatch", self.y[mb], 0), ("dispatch", self.dz, 1), "2>0",
                    ("toy_expert_grad", [self.rows[0], self.rows[1], self.p1, self.g1, self.rows[2]]), "0>2",
                    ("collect", 2, self.dslots), "2>0"]
        at = len(self.lines)
        for step in body:
            if isinstance(step, str):
                self.sync(int(step[0]), int(step[2]))
            elif step[0] == "dispatch":
                self.lines.append(f"dispatch mb={mb} row_bytes={row} stream=2 arg {step[1]} {self.rows[step[2]]} ; dispatch")
            elif step[0] == "collect":
                self.lines.append(f"collect mb={mb} row_bytes={row} stream=2 arg {self.rows[step[1]]} {step[2]} ; collect")
            else:
                self.launch(step[0], step[1], mb)
        self.lines.insert(at, f"rounds mb={mb} body={len(self.lines) - at} stream=2 ; rounds")

    def backward(self, mb):
        if self.last and not self.first:
            self.sync(0, 1)
            self.transfer("send", self.pp_rank - 1, mb, "dy", self.dy[mb])
        if not self.first:
            return
        if not self.last:
            self.transfer("recv", self.pp_rank + 1, mb, "dy", self.dy[mb])
            self.sync(1, 0)
        self.gemm(2, mb, self.dy[mb], self.x[mb], self.g0 + self.w_at, True)
        self.gemm(1, mb, self.dy[mb], self.p0 + self.w_at, self.dx[mb], False)
        self.launch("toy_embed_grad", [self.tokens + 4 * mb * T_MAX, self.dx[mb], self.g0], mb)

    def gemm(self, form, mb, a, b, c, acc):
        self.lines.append(f"gemm mb={mb} form={form} rows=1 ncol={D} kcol={D} acc={int(acc)} arg {a} {b} {c} ; product")

    # ---- text ----

    def kernel_lines(self):
        for name in KERNELS:
            per_row = name in ("toy_embed", "toy_ids", "toy_expert", "toy_add")
            kind = 2 if name == "toy_expert" else 1
            choice = f" choice=1 choice_bytes={4 * K}" if name == "toy_ids" else ""
            yield f"kernel {name}_ threads=64 " + (f"grid={kind} per=4 times=1" if per_row else "times=1") + choice + " ; "
        for name, (_, threads, shared, times) in RUNTIME.items():
            yield f"kernel {name} threads={threads} shared={shared} times={times} ; "

    def text(self):
        first_runtime = len(KERNELS)
        has = {"has_tokens": self.first, "has_labels": self.last}
        sizes = dict(world=self.pp * self.dp, pp=self.pp, dp=self.dp, ep=self.ep, ep_shard=self.dp // self.ep,
                     pp_rank=self.pp_rank, microbatches=MBS, runs=1, docs_max=DOCS, tokens_max=T_MAX, seq_max=12,
                     rows_max=self.capacity, xchs=1, slots_max=T_MAX * K, experts_max=E, own=self.end,
                     arena_bytes=self.end + (64 << 20), tokens=getattr(self, "tokens", 0), labels=getattr(self, "labels", 0),
                     loss=getattr(self, "loss", 0), k_slots=first_runtime, k_pack=first_runtime + 1,
                     k_unpack=first_runtime + 2, k_adam=first_runtime + 3, k_sumsq=first_runtime + 4, streams=4,
                     events=self.events, **{k: int(v) for k, v in has.items()})
        out = ["glmc-program 1", "model Toy"] + [f"size {k} {v}" for k, v in sizes.items()]
        out += [f"setting {k} {v}" for k, v in SETTINGS.items()] + [f"config vocab_size {V}"] + list(self.kernel_lines())
        for name, group, elems, param, grad, m, v in self.units:
            out.append(f"unit {name} {group} f32 f32 trained=1 elems={elems} param={param} grad={grad} m={m} v={v} master=0 "
                       "sharded=0")
        for i, (name, shape, experts, unit, off) in enumerate(self.tensors):
            order = i + (10 if self.units[unit][0] == "experts" else 0)
            out.append(f"tensor {name} f32 unit={unit} off={off} experts={experts} grad=1 order={order} init=n std=0.02 "
                       f"ndim={len(shape)} {' '.join(map(str, shape))}")
        return "\n".join(out + self.lines + ["end", ""])


SETTINGS = {
    "seed": 1, "step_scheduler.max_steps": 2, "step_scheduler.num_epochs": 100, "dataset._target_": "TokenIds",
    "dataset.path_or_dataset": "rows.jsonl", "dataloader.shuffle": "false", "dist_env.timeout_minutes": 1,
    "model.pretrained_model_name_or_path": "checkpoint", "checkpoint.checkpoint_dir": "run", "optimizer.lr": "0.01",
    "optimizer.betas": "[0.9, 0.999]", "clip_grad_norm.max_norm": "null",
}


# ---- the same in numpy ----

def batches(dp, step):
    """Documents of every dp rank and microbatch: lists of (tokens, labels)."""
    rng = np.random.default_rng(100 + step)
    out = []
    for _ in range(MBS * DOCS * dp):
        n = int(rng.integers(3, 13))
        tokens = rng.integers(0, V, n)
        labels = np.where(rng.random(n) < 0.2, -100, rng.integers(0, V, n))
        out.append((tokens, labels))
    return out


def weights():
    rng = np.random.default_rng(7)
    w = {"table": rng.normal(size=(V, D)), "w": rng.normal(size=(D, D)) * 0.3}
    w.update({f"experts.{e}": rng.normal(size=D) for e in range(E)})
    return {k: v.astype(np.float32) for k, v in w.items()}


def gradients(w, docs):
    """Loss and gradients of one step, normalised by the number of labels, in float64."""
    g, loss, count = {k: np.zeros(v.shape) for k, v in w.items()}, 0.0, 0
    w = {k: v.astype(np.float64) for k, v in w.items()}
    for tokens, labels in docs:
        x = w["table"][tokens]
        y = x @ w["w"].T
        p = np.arange(len(tokens))
        ids = np.stack([np.where(p % 7 == 3, -1, (p * 3 + 1) % E), np.where(p % 5 == 0, -1, p % E)], 1)
        scale = np.stack([np.zeros(D)] + [w[f"experts.{e}"] for e in range(E)])[ids + 1]
        z = (y + (scale * y[:, None]).sum(1)) * (labels != -100)[:, None]
        loss += 0.5 * (z * z).sum()
        count += (labels != -100).sum()
        for e in range(E):
            hits = (ids == e).sum(1)
            g[f"experts.{e}"] += (hits[:, None] * y * z).sum(0)
        dy = z + (scale * z[:, None]).sum(1)
        g["w"] += dy.T @ x
        np.add.at(g["table"], tokens, dy @ w["w"])
    return loss / count, {k: v / count for k, v in g.items()}
