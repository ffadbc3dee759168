/* verify_int.h - shared by the files of the verifier. */
#ifndef GLMC_VERIFY_INT_H
#define GLMC_VERIFY_INT_H

#include "verify.h"

typedef struct Verifier {
	Arena *a;
	const RtProg *const *p;
	int n;
	Findings found;
} Verifier;

enum { MAX_FINDINGS = 20 };

/* found - a new finding. note - a line of the witness of the last one. */
void found(Verifier *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void note(Verifier *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool found_enough(const Verifier *v);

/* "pipeline rank 1, instruction 57 (recv, microbatch 0: x f32 at the input of stage 3)" */
const char *instr_text(const Verifier *v, int rank, int instr);

void verify_actions(Verifier *v);
void verify_transfers(Verifier *v);
void verify_progress(Verifier *v);     /* needs transfers without a finding */
void verify_memory(Verifier *v, int rank);
void verify_streams(Verifier *v, int rank);    /* needs memory without a finding */

#endif
