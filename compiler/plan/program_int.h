/* program_int.h - shared by the files that write a program (program.h).
 *
 * Buffers of a step (carried values, saved values, gradients between layers, workspaces) are made while
 * the instructions are written, live from their first to their last instruction, and get their offsets at
 * the end. Until then an argument is a reference, see prog_reference.
 */
#ifndef GLMC_PROGRAM_INT_H
#define GLMC_PROGRAM_INT_H

#include "layout.h"

enum { NO_BUF = -1 };

/* A buffer of the step. */
typedef struct DynBuf {
	uint64_t bytes;
	int birth, death;        /* instructions, death exclusive; -1 never used */
	RtBufKind kind;
	char *name;
} DynBuf;

/* Workspace of a function: its local buffers side by side. */
typedef struct Workspace {
	uint64_t *off;           /* per buffer of the function */
	uint64_t bytes;
	bool known;
} Workspace;

/* Saved results of a function: buffers by number. */
typedef struct Saves {
	const Graph *of;
	int *buf;
} Saves;

/* The gradient of a unit as it is added up. */
typedef struct Sums {
	int buf;                 /* sharded: dynamic buffer from the first backward of a run to the last, else NO_BUF */
	int left;                /* actions that still add to it: of the run when it is sharded, else of the step */
	bool reduced;            /* sharded: in an earlier run */
} Sums;

typedef struct Writer {
	Arena *a;
	const PlanInput *in;
	int pp_rank;
	RtProg *p;
	Layout layout;
	VEC(RtInstr) instrs;
	VEC(RtAct) acts;
	VEC(DynBuf) dyn;
	VEC(const char *) names; /* carried values of the model */
	int *fwd_in;             /* [stage][mb][name]: buffer of the carried value, NO_BUF */
	int *fwd_out;
	int *grad_in;            /* gradient of the stage's output */
	int *grad_out;           /* gradient of its input */
	Saves *saved[RT_ACT_KINDS];      /* [instance][mb]: what F and I leave behind */
	Workspace *ws[RT_ACT_KINDS];     /* per class */
	Sums *sums;              /* per unit */
	int run;                 /* of the schedule, that the last backward belongs to */
	struct { double theta; uint32_t d; uint64_t off; } rope[4];
	uint32_t nrope;
	int **balance;           /* per instance, per weight: index into balances + 1 */
	VEC(RtBalance) balances;
	uint64_t fixed;          /* end of the persistent part */
} Writer;

/* program.c */
void prog_set_args(Writer *w, RtInstr *i, const uint64_t *arg, int n);
void prog_emit(Writer *w, RtInstr i);

/* program_fixed.c */
void prog_reserve_fixed(Writer *w);
uint64_t prog_rope_offset(const Writer *w, double theta, uint32_t d);
void prog_exchange_sizes(Writer *w);

/* program_buffers.c */
int prog_new_buf(Writer *w, uint64_t bytes, RtBufKind kind, char *name);
/* The buffer lives at the next instruction, or at instruction `at`. */
void prog_touch(Writer *w, int buf);
void prog_touch_at(Writer *w, int buf, int at);
/* A reference to byte `off` of a buffer. */
uint64_t prog_reference(int buf, uint64_t off);
/* Gives buffers their offsets, and puts these in place of references. */
void prog_place_buffers(Writer *w, RankPlan *plan);

/* program_carry.c */
void prog_init_carried(Writer *w);
/* Number of a carried value, NO_BUF when there is none of that name. */
int prog_name_index(const Writer *w, const char *name);
/* Its place in one of the tables fwd_in .. grad_out. */
int *prog_slot(const Writer *w, int *table, int stage, int mb, int name);
/* Sends or receives every live carried value (or gradient) at the input of stage `border`; buffers are
 * those of `table_stage` in the table. */
void prog_transfer(Writer *w, const PlanAct *act, int border, int *table, int table_stage, bool grad);

/* One call of a function: where its buffers are. */
typedef struct Call {
	const Fn *fn;
	const Workspace *ws;
	uint32_t instance;
	int mb, stage;
	int work;                /* workspace buffer */
	const int *bound;        /* per buffer of the function: dynamic buffer, NO_BUF */
	RtActKind kind;
	const char *phase;
	const Saves *from[2];    /* where its saved inputs are; NULL */
} Call;

/* program_call.c */
uint64_t prog_rows_bytes(const Writer *w, const FnBuf *f);
const Workspace *prog_workspace(Writer *w, Workspace *ws, const Fn *fn);
void prog_emit_function(Writer *w, const Call *c);

/* program_action.c */
void prog_init_actions(Writer *w);
void prog_forward(Writer *w, int stage, int mb);
void prog_backward(Writer *w, RtActKind kind, int stage, int mb);    /* B, I or W */

/* program_sums.c */
void prog_init_sums(Writer *w);
/* Marks the units that a backward action of the stage adds to. */
void prog_mark_sums(const Writer *w, RtActKind kind, int stage, bool *mark);
void prog_open_sums(Writer *w, const PlanAct *act, const bool *mark);    /* before the action */
void prog_close_sums(Writer *w, const bool *mark);       /* after it: reduces what nothing adds to any more */
void prog_end_sums(Writer *w);           /* reduces what nothing added to */

/* program_kernels.c */
void prog_number_kernels(Writer *w);

#endif
