/* Events as lines and as JSON, whatever fields their types have. */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "sim/event_text.h"

/* The name at a place of "a|b|c"; NULL behind the end or where it is empty. */
static const char *choice_at(const char *choices, uint64_t place, size_t *length)
{
    for (; place > 0; place--) {
        choices += strcspn(choices, "|");
        if (!*choices++)
            return NULL;
    }
    *length = strcspn(choices, "|");
    return *length ? choices : NULL;
}

static void quote_bytes(const struct trace_event *event, const struct trace_field *field,
                        char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)event + field->offset;
    unsigned count = bytes[-1]; /* TRACE_FIELD_BYTES: the byte before holds how many there are */
    size_t used = (size_t)snprintf(text, size, "\"");

    for (unsigned i = 0; i < count && i < field->size && used + 6 < size; i++) {
        const char *format = bytes[i] == '"' || bytes[i] == '\\' ? "\\%c"
                             : isprint(bytes[i])                 ? "%c"
                                                                 : "\\x%02x";

        used += (size_t)snprintf(text + used, size - used, format, bytes[i]);
    }
    snprintf(text + used, size - used, "\"");
}

void event_field_text(const struct trace_event *event, const struct trace_field *field, char *text,
                      size_t size)
{
    const char *name;
    uint64_t value;
    size_t length;

    if (field->kind == TRACE_FIELD_BYTES) {
        quote_bytes(event, field, text, size);
        return;
    }
    value = trace_field_get(event, field);
    switch (field->kind) {
    case TRACE_FIELD_COUNT:
        snprintf(text, size, "%" PRIu64, value);
        return;
    case TRACE_FIELD_REASON:
        snprintf(text, size, "%s", event_reason_name((uint32_t)value));
        if (strcmp(text, "UNKNOWN") == 0)
            snprintf(text, size, "UNKNOWN(0x%" PRIx64 ")", value);
        return;
    case TRACE_FIELD_CHOICE:
        name = choice_at(field->choices, value, &length);
        if (name)
            snprintf(text, size, "%.*s", (int)length, name);
        else
            snprintf(text, size, "%" PRIu64, value);
        return;
    default:
        snprintf(text, size, "0x%" PRIx64, value);
    }
}

void event_choice_text(const struct trace_event *event, char *text, size_t size)
{
    const struct trace_field *field = trace_fields(event->type);

    while (field->name && field->kind != TRACE_FIELD_CHOICE && field->kind != TRACE_FIELD_REASON)
        field++;
    *text = '\0';
    if (field->name)
        event_field_text(event, field, text, size);
}

void event_symbol_text(const struct symbols *symbols, uint64_t address, char *text, size_t size)
{
    uint64_t into;
    const char *name = symbols ? symbols_find(symbols, address, &into) : NULL;

    if (!name)
        *text = '\0';
    else if (into)
        snprintf(text, size, "%s+0x%" PRIx64, name, into);
    else
        snprintf(text, size, "%s", name);
}

/* Which field the explanation belongs behind; the last of the type's if it has none of these. */
static bool explains(const struct trace_field *field)
{
    return strcmp(field->name, "qualification") == 0 || strcmp(field->name, "info") == 0 ||
           strcmp(field->name, "access") == 0;
}

static bool is_shown(const struct trace_event *event, const struct trace_field *field)
{
    if (field->kind == TRACE_FIELD_BYTES)
        return ((const uint8_t *)event)[field->offset - 1] > 0;
    return field->kind == TRACE_FIELD_REASON || field->kind == TRACE_FIELD_CHOICE ||
           trace_field_get(event, field) != 0 || explains(field);
}

/* Appends as far as there is room. Returns the length then. */
__attribute__((format(printf, 4, 5))) static size_t append(char *text, size_t size, size_t used,
                                                           const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
    used += length > 0 ? (size_t)length : 0;
    return used < size ? used : size - 1;
}

void event_fields_text(const struct trace_event *event, const struct symbols *symbols, char *text,
                       size_t size)
{
    char value[TRACE_INPUT_MAX * 4 + 3], meaning[256], symbol[256];
    size_t used = 0;

    *text = '\0';
    event_explain(event, meaning, sizeof(meaning));
    for (const struct trace_field *field = trace_fields(event->type); field->name; field++) {
        bool named = field->kind == TRACE_FIELD_REASON || field->kind == TRACE_FIELD_CHOICE;

        if (!is_shown(event, field))
            continue;
        if (explains(field) && trace_field_get(event, field) == 0) {
            if (*meaning)
                used = append(text, size, used, "%s(%s)", used ? " " : "", meaning);
            continue;
        }
        event_field_text(event, field, value, sizeof(value));
        used = append(text, size, used, "%s%s%s%s", used ? " " : "", named ? "" : field->name,
                      named ? "" : "=", value);
        if (field->kind == TRACE_FIELD_LINEAR) {
            event_symbol_text(symbols, trace_field_get(event, field), symbol, sizeof(symbol));
            if (*symbol)
                used = append(text, size, used, " <%s>", symbol);
        }
        if (explains(field) && *meaning)
            used = append(text, size, used, " (%s)", meaning);
    }
}

/* Bytes that are no UTF-8 would be refused: they are given as hexadecimal digits. */
static json_t *bytes_json(const struct trace_event *event, const struct trace_field *field)
{
    const uint8_t *bytes = (const uint8_t *)event + field->offset;
    unsigned count = bytes[-1] < field->size ? bytes[-1] : field->size;
    char digits[2 * TRACE_INPUT_MAX + 1] = "";

    for (unsigned i = 0; i < count; i++)
        snprintf(digits + 2 * i, 3, "%02x", bytes[i]);
    return json_string(digits);
}

static void add_field(json_t *object, const struct trace_event *event,
                      const struct trace_field *field)
{
    char text[EVENT_TEXT_SIZE];

    if (field->kind == TRACE_FIELD_BYTES) {
        json_object_set_new(object, field->name, bytes_json(event, field));
    } else if (field->kind == TRACE_FIELD_COUNT) {
        json_object_set_new(object, field->name,
                            json_integer((json_int_t)trace_field_get(event, field)));
    } else {
        event_field_text(event, field, text, sizeof(text));
        json_object_set_new(object, field->name, json_string(text));
    }
}

json_t *event_json(uint64_t number, const struct trace_event *event, const struct symbols *symbols)
{
    json_t *object =
        json_pack("{s:I, s:s}", "event", (json_int_t)number, "type", trace_event_name(event->type));
    char text[EVENT_TEXT_SIZE];

    for (const struct trace_field *field = trace_common_fields; field->name; field++)
        add_field(object, event, field);
    event_symbol_text(symbols, event->rip, text, sizeof(text));
    if (*text)
        json_object_set_new(object, "symbol", json_string(text));
    for (const struct trace_field *field = trace_fields(event->type); field->name; field++)
        add_field(object, event, field);
    event_explain(event, text, sizeof(text));
    if (*text)
        json_object_set_new(object, "meaning", json_string(text));
    return object;
}
