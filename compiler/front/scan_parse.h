/* scan_parse.h - model files to a syntax tree.
 *
 * program_load reads the main file and, depth first, everything it imports. The scanner
 * (grammar/glm.l) and the parser (grammar/glm.y) share one Parse per file.
 *
 *   ModelSource src = {.path = "models/glm5.glm", .models_dir = "/usr/share/glmc/models"};
 *   Program *p = program_load(arena, diag, &src);      NULL: reported
 */
#ifndef GLMC_SCAN_PARSE_H
#define GLMC_SCAN_PARSE_H

#include "ast.h"

typedef struct ModelSource {
	const char *path;        /* for messages; read when `text` is NULL */
	const char *text;        /* the text itself (need not end with NUL) or NULL */
	size_t len;              /* bytes of `text` */
	const char *models_dir;  /* where imports are looked up after the importing file's folder;
	                            NULL: nowhere else */
	bool no_files;           /* imports read nothing (fuzzing): they are errors */
} ModelSource;

/* Limits against hostile input; what goes beyond is an error. */
enum {
	MAX_SOURCE_BYTES = 1 << 20,
	MAX_SOURCES = 64,
	MAX_BRACKETS = 200,
	MAX_NAME_BYTES = 128,
	MAX_STRING_BYTES = 512,
	MAX_BLOCKS = 2000,
	MAX_SIZES = 1000,
	MAX_LOCALS = 2000
};

/* program_load - the whole program; NULL after diag_error. A missing model is an error only when
 * `need_model` (a file of blocks alone can be parsed for printing). */
Program *program_load(Arena *a, Diag *d, const ModelSource *src, bool need_model);

#endif
