/* rt_prog_int.h - the text form of rank programs, shared by the files that print, read and check it.
 *
 * One item per line: a keyword, then words, `name=value` for most, then for kernels and instructions a
 * text after `;`. Numbers are decimal; an instruction's arguments are arena offsets. runtime/README.md
 * shows a line of each kind.
 */
#ifndef GLMC_RT_PROG_INT_H
#define GLMC_RT_PROG_INT_H

#include "rt_prog.h"

/* The words of an enumeration. */
typedef struct RtNames {
	const char *const *name;
	int n;
} RtNames;

extern const RtNames rt_op_names, rt_dtype_names, rt_buf_names, rt_act_names;

/* A number in a struct, and its name in the text. */
typedef struct RtField {
	const char *name;
	size_t offset;
	char kind;               /* i int, l int64, u uint64, b bool */
} RtField;

typedef struct RtFields {
	const RtField *list;
	int n;
} RtFields;

/* Of RtProg, RtUnit, RtTensor and RtBalance all are printed, in this order; of the others those that are set. */
extern const RtFields rt_prog_fields, rt_unit_fields, rt_tensor_fields, rt_balance_fields;
extern const RtFields rt_kernel_fields, rt_map_fields, rt_instr_fields;

long long rt_field_get(const void *base, const RtField *f);
void rt_field_set(void *base, const RtField *f, long long x);

/* rt_prog_check - every index and offset is in range. False with a message. */
bool rt_prog_check(const RtProg *p, char err[200]);

#endif
