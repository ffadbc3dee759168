/* rt_message.h - what a rank says on stderr.
 *
 * Launchers forward every write of a rank by itself, so a message put together by several writes mixes
 * with those of other ranks. These hand a whole message, of one or more lines, to one write. Nothing is
 * buffered: what was said is out when the process ends, however it ends.
 */
#ifndef GLMC_RT_MESSAGE_H
#define GLMC_RT_MESSAGE_H

#include <stdarg.h>

enum { RT_NO_RANK = -1 };        /* of a message before the rank is known */

/* rt_say - "[rank r] message" and a newline. For any thread. In a signal handler arguments are numbers
 * and texts of limited precision: memory is allocated only for messages of more than 4000 bytes. */
void rt_say(int rank, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rt_say_list(int rank, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

#endif
