/* rt_words.h - which known word was a misspelt one meant to be? Shared by the compiler (names, keys,
 * options) and by ranks (keys at launch). */
#ifndef GLMC_RT_WORDS_H
#define GLMC_RT_WORDS_H

#include <stdbool.h>

enum { RT_WORD_MAX = 96 };   /* longer words have no neighbours */

/* rt_word_distance - letters to insert, drop, replace or swap with their neighbour to make b of a;
 * RT_WORD_MAX when one is that long. */
int rt_word_distance(const char *a, const char *b);

/* rt_word_near - the distance is at most `limit`. */
bool rt_word_near(const char *a, const char *b, int limit);

/* rt_word_reach - the distance up to which a word is worth suggesting: one letter in four, at least
 * one, never all of them. */
int rt_word_reach(const char *word);

#endif
