/*
 * Reading a trace from its beginning. Damage is told, never crashed on: every record that the
 * reader gives has passed its frame's checksum.
 */
#ifndef VTXSIM_TRACES_READER_H
#define VTXSIM_TRACES_READER_H

#include <stdint.h>

#include "traces/writer.h"

struct trace_reader;

/*
 * Returns 0 or -errno: -EBADMSG if it is not a trace or damaged, -ENODATA if it is cut within its
 * header, -ENOTSUP if its version is not this one's.
 */
int trace_reader_open(struct trace_reader **reader, const char *path);
/* The options of the run (JSON). Valid until trace_reader_close. */
const char *trace_reader_options(const struct trace_reader *reader);
/*
 * The next record. Returns 1; 0 at the end of a whole trace; -ENODATA at the end of one that was
 * cut off (all records of its whole frames have been given); -EBADMSG where it is damaged; -errno
 * if reading fails. After anything but 1 the answer stays the same.
 */
int trace_reader_next(struct trace_reader *reader, struct trace_exit *exit);
void trace_reader_close(struct trace_reader *reader);

#endif
