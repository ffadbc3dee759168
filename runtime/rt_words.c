/* rt_words.c - see rt_words.h: optimal string alignment, three rows of the table at a time. */
#include "rt_words.h"

#include <string.h>

static int min3(int a, int b, int c)
{
	int m = a < b ? a : b;
	return m < c ? m : c;
}

int rt_word_distance(const char *a, const char *b)
{
	int rows[3][RT_WORD_MAX + 1];
	int na = (int)strnlen(a, RT_WORD_MAX), nb = (int)strnlen(b, RT_WORD_MAX);
	if (na == RT_WORD_MAX || nb == RT_WORD_MAX)
		return RT_WORD_MAX;
	for (int j = 0; j <= nb; j++)
		rows[0][j] = j;
	for (int i = 1; i <= na; i++) {
		int *now = rows[i % 3], *up = rows[(i + 2) % 3], *above = rows[(i + 1) % 3];
		now[0] = i;
		for (int j = 1; j <= nb; j++) {
			now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above[j - 2] + 1 < now[j])
				now[j] = above[j - 2] + 1;
		}
	}
	return rows[na % 3][nb];
}

bool rt_word_near(const char *a, const char *b, int limit)
{
	int na = (int)strnlen(a, RT_WORD_MAX), nb = (int)strnlen(b, RT_WORD_MAX);
	int longer = na > nb ? na - nb : nb - na;
	return longer <= limit && rt_word_distance(a, b) <= limit;
}

int rt_word_reach(const char *word)
{
	int n = (int)strnlen(word, RT_WORD_MAX), reach = n / 4 > 1 ? n / 4 : 1;
	return reach < n ? reach : n - 1;
}
