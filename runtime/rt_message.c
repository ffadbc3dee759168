/* rt_message.c - see rt_message.h. */
#include "rt_message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SHORT = 4096 };           /* bytes of a message on the stack */

/* More than one write only where the system took a part: on a full pipe, for more than it takes at once. */
static void write_all(const char *text, size_t n)
{
	while (n) {
		ssize_t done = write(STDERR_FILENO, text, n);
		if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			text += done;
			n -= (size_t)done;
		}
	}
}

/* As much of the message as fits in `room` bytes with a zero; the length of all of it. */
static size_t format(char *text, size_t room, int rank, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static size_t format(char *text, size_t room, int rank, const char *fmt, va_list ap)
{
	size_t tag = rank < 0 ? 0 : (size_t)snprintf(text, room, "[rank %d] ", rank);
	int n = vsnprintf(text + tag, room - tag, fmt, ap);
	return n < 0 ? tag : tag + (size_t)n;
}

/* The newline takes the place of the zero. */
void rt_say_list(int rank, const char *fmt, va_list ap)
{
	char small[SHORT], *large = NULL;
	va_list again;
	va_copy(again, ap);
	size_t n = format(small, sizeof small, rank, fmt, ap);
	if (n >= sizeof small)
		large = malloc(n + 1);
	if (large)
		format(large, n + 1, rank, fmt, again);
	else if (n >= sizeof small)
		n = sizeof small - 1;
	va_end(again);
	char *text = large ? large : small;
	text[n] = '\n';
	write_all(text, n + 1);
	free(large);
}

void rt_say(int rank, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	rt_say_list(rank, fmt, ap);
	va_end(ap);
}
