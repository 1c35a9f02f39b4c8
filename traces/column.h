/*
 * One column of a frame: the values of one field of one type of event, as numbers of variable
 * length.
 */
#ifndef VTXSIM_TRACES_COLUMN_H
#define VTXSIM_TRACES_COLUMN_H

#include <stdlib.h>
#include <string.h>

#include "traces/format.h"

/* Columns of the fields that all types have; the type's own follow. */
enum { TRACE_COLUMN_CPU, TRACE_COLUMN_INSTRUCTIONS, TRACE_COLUMN_TIME, TRACE_COLUMN_RIP };
#define TRACE_COLUMN_OWN 4

/* Columns that a type may have; those with higher numbers are skipped. */
#define TRACE_COLUMNS 16

/* A column that is written. As long as it has nothing but zeros it is only counted; a column that
 * ends so is left out. */
struct trace_column {
    uint8_t *data;
    size_t size, allocated;
    bool used; /* its bytes are there */
};

/* Makes room for so many more bytes. False if out of memory. */
static inline bool trace_column_reserve(struct trace_column *column, size_t size)
{
    size_t allocated = 2 * (column->size + size);
    uint8_t *grown;

    if (column->allocated >= column->size + size)
        return true;
    grown = realloc(column->data, allocated);
    if (!grown)
        return false;
    column->data = grown;
    column->allocated = allocated;
    return true;
}

/* Makes the zeros so far real, with room for so many bytes behind them. */
static inline bool trace_column_use(struct trace_column *column, size_t size)
{
    if (!trace_column_reserve(column, size))
        return false;
    if (!column->used && column->size)
        memset(column->data, 0, column->size);
    column->used = true;
    return true;
}

/* False if out of memory. */
static inline bool trace_column_put(struct trace_column *column, uint64_t value)
{
    if (value == 0 && !column->used) {
        column->size++;
        return true;
    }
    if (!trace_column_use(column, TRACE_VARINT_MAX))
        return false;
    column->size = (size_t)(trace_put_varint(column->data + column->size, value) - column->data);
    return true;
}

static inline void trace_column_empty(struct trace_column *column)
{
    column->size = 0;
    column->used = false;
}

/* A column that is read. */
struct trace_cursor {
    const uint8_t *next, *end; /* NULL: the column is not there, and its values are zeros */
};

static inline bool trace_cursor_take(struct trace_cursor *cursor, uint64_t *value)
{
    *value = 0;
    return !cursor->end || trace_get_varint(&cursor->next, cursor->end, value);
}

#endif
