/* timeline.h - for every byte of the arena, which instructions of each stream touched it last.
 *
 * The arena is cut at all borders of all ranges; a piece is touched as a whole. Instructions are
 * named by their place in the order of execution, which counts every run of a loop's body.
 */
#ifndef GLMC_TIMELINE_H
#define GLMC_TIMELINE_H

#include "access.h"

enum { STREAMS = 4, NEVER = -1 };

typedef struct Piece {
	uint64_t off;            /* up to the next piece */
	int write[STREAMS];      /* places of the last writers and readers, per stream */
	int read[STREAMS];
} Piece;

typedef struct Timeline {
	Piece *pieces;           /* by offset */
	uint32_t n;
} Timeline;

/* timeline_new - nothing touched yet. */
Timeline timeline_new(Arena *a, const Ranges *ranges, int n);

/* timeline_needs - need[t] becomes the place of the last instruction of stream t that must be over before one
 * with these ranges begins: it wrote what is read or written, or read what is written. */
void timeline_needs(const Timeline *t, const Ranges *r, int need[STREAMS]);

/* timeline_touch - the instruction at `place` of `stream` touches its ranges. */
void timeline_touch(Timeline *t, const Ranges *r, int stream, int place);

#endif
