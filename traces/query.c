/* Queries: a parser by recursive descent into a tree, and its evaluation. */
#include "traces/query.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "traces/query_field.h"

#define NODES_MAX 256
#define DEPTH_MAX 64
#define WORD_MAX  256

enum node_kind { NODE_AND, NODE_OR, NODE_NOT, NODE_COMPARISON };
enum relation { EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, BITS, IN, CONTAINS };

/* What a field is compared with: in each type [low, high], as names mean different things. */
struct operand {
    bool valid[TRACE_EVENT_TYPES];
    uint64_t low[TRACE_EVENT_TYPES], high[TRACE_EVENT_TYPES];
    struct operand *next; /* of a list; any of them */
};

struct node {
    enum node_kind kind;
    struct node *left, *right; /* NODE_NOT: left */
    enum relation relation;
    struct query_field field;
    struct operand *operand;
    char bytes[WORD_MAX]; /* what TRACE_FIELD_BYTES are compared with */
    size_t length;        /* of bytes */
};

struct trace_query {
    struct node *root;
};

/* --- Words of the text
 * ------------------------------------------------------------------------------- */

enum token { END, NAME, NUMBER, STRING, SIGN };

struct parser {
    const char *text, *at;
    const struct trace_names *names;
    enum token token;
    const char *start; /* of the token */
    char word[WORD_MAX];
    size_t length; /* of word */
    uint64_t number;
    unsigned nodes, depth;
    int error;
    char *message;
    size_t message_size;
};

__attribute__((format(printf, 2, 3))) static void fail(struct parser *parser, const char *format,
                                                       ...)
{
    va_list arguments;
    int used;

    if (parser->error)
        return;
    parser->error = -EINVAL;
    used = snprintf(parser->message, parser->message_size,
                    "column %td: ", parser->start - parser->text + 1);
    if (used < 0 || (size_t)used >= parser->message_size)
        return;
    va_start(arguments, format);
    vsnprintf(parser->message + used, parser->message_size - (size_t)used, format, arguments);
    va_end(arguments);
}

static bool in_name(const char *at)
{
    return isalnum((unsigned char)*at) || strchr("_$@", *at) != NULL ||
           (*at == '-' && isalnum((unsigned char)at[1])) || (*at == '.' && at[1] != '.');
}

/* A string in quotes; \xHH, \n and \ before any other character. */
static void take_string(struct parser *parser)
{
    char quote = *parser->at++;

    parser->token = STRING;
    parser->length = 0;
    while (*parser->at && *parser->at != quote) {
        char c = *parser->at++;

        if (c == '\\' && *parser->at) {
            c = *parser->at++;
            if (c == 'n') {
                c = '\n';
            } else if (c == 'x' && isxdigit((unsigned char)*parser->at)) {
                char digits[3] = {parser->at[0], parser->at[1], 0};
                char *end;

                c = (char)strtoul(digits, &end, 16);
                parser->at += end - digits;
            }
        }
        if (parser->length < WORD_MAX - 1)
            parser->word[parser->length++] = c;
    }
    if (*parser->at)
        parser->at++;
    else
        fail(parser, "the string has no end: close it with %c", quote);
    parser->word[parser->length] = '\0';
}

static void take_number(struct parser *parser)
{
    char *end;

    errno = 0;
    parser->number = strtoull(parser->at, &end, 0);
    parser->token = NUMBER;
    if (errno || isalnum((unsigned char)*end))
        fail(parser, "\"%.*s\" is not a number", (int)strcspn(parser->at, " )}"), parser->at);
    parser->at = end;
}

static void take_name(struct parser *parser)
{
    parser->token = NAME;
    parser->length = 0;
    for (; *parser->at && in_name(parser->at); parser->at++)
        if (parser->length < WORD_MAX - 1)
            parser->word[parser->length++] = *parser->at;
    parser->word[parser->length] = '\0';
}

static void take_sign(struct parser *parser)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "&&", "||", "..", "=", "<", ">",
                                        "!",  "&",  "~",  "(",  ")",  "{",  "}",  ",", "+"};

    parser->token = SIGN;
    for (unsigned i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
        parser->length = strlen(signs[i]);
        if (strncmp(parser->at, signs[i], parser->length) != 0)
            continue;
        memcpy(parser->word, signs[i], parser->length + 1);
        parser->at += parser->length;
        return;
    }
    fail(parser, "'%c' has no meaning here", *parser->at);
}

static void advance(struct parser *parser)
{
    while (isspace((unsigned char)*parser->at))
        parser->at++;
    parser->start = parser->at;
    parser->word[0] = '\0';
    if (parser->error || !*parser->at)
        parser->token = END;
    else if (isdigit((unsigned char)*parser->at))
        take_number(parser);
    else if (isalpha((unsigned char)*parser->at) || *parser->at == '_')
        take_name(parser);
    else if (*parser->at == '"' || *parser->at == '\'')
        take_string(parser);
    else
        take_sign(parser);
}

/* Takes a sign or a word of the language if it is there. */
static bool accept(struct parser *parser, const char *word)
{
    if ((parser->token != SIGN && parser->token != NAME) || strcmp(parser->word, word) != 0)
        return false;
    advance(parser);
    return true;
}

static void expect(struct parser *parser, const char *word)
{
    if (!accept(parser, word))
        fail(parser, "\"%s\" is missing here", word);
}

/* --- Operands
 * ---------------------------------------------------------------------------------------- */

static bool find_choice(const char *choices, const char *name, uint64_t *value)
{
    size_t length = strlen(name);

    for (*value = 0;; (*value)++) {
        size_t part = strcspn(choices, "|");

        if (part == length && strncmp(choices, name, part) == 0)
            return true;
        choices += part;
        if (!*choices++)
            return false;
    }
}

/* What a name means in a field of a kind. */
static bool find_name(const struct parser *parser, const struct trace_field *field,
                      const char *name, uint64_t *low, uint64_t *high)
{
    const struct trace_names *names = parser->names;
    int reason;

    switch (field->kind) {
    case TRACE_FIELD_CHOICE:
        if (!find_choice(field->choices, name, low))
            return false;
        *high = *low;
        return true;
    case TRACE_FIELD_REASON:
        reason = names && names->reason ? names->reason(name) : -1;
        *low = *high = (uint64_t)reason;
        return reason >= 0;
    case TRACE_FIELD_LINEAR:
        if (!names || !names->symbol || !names->symbol(names->context, name, low, high))
            return false;
        (*high)--; /* the end is not in it */
        return true;
    default:
        return false;
    }
}

static bool find_name_in_types(const struct parser *parser, const struct query_field *field,
                               const char *name, struct operand *operand)
{
    bool found = false;

    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
        if (field->kind == QUERY_TYPE) {
            operand->low[type] = operand->high[type] = trace_event_find(name);
            operand->valid[type] = operand->low[type] != 0;
        } else if (field->kind == QUERY_TABLE && field->field[type]) {
            operand->valid[type] = find_name(parser, field->field[type], name, &operand->low[type],
                                             &operand->high[type]);
        }
        found |= operand->valid[type];
    }
    return found;
}

static bool takes_symbols(const struct query_field *field)
{
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        if (field->kind == QUERY_TABLE && field->field[type] &&
            field->field[type]->kind == TRACE_FIELD_LINEAR)
            return true;
    return false;
}

/* A number, or a name with "+number" behind it. A name is a range where it names a symbol. */
static void parse_value(struct parser *parser, const struct query_field *field,
                        struct operand *operand)
{
    if (parser->token == NUMBER) {
        for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
            operand->valid[type] = true;
            operand->low[type] = operand->high[type] = parser->number;
        }
    } else if (parser->token == NAME) {
        if (!find_name_in_types(parser, field, parser->word, operand))
            fail(parser, "the field has no value \"%s\"%s", parser->word,
                 takes_symbols(field) ? ": no symbol has this name (are symbols given?)" : "");
    } else {
        fail(parser, "a number or a name is missing here");
    }
    advance(parser);
    if (accept(parser, "+")) {
        if (parser->token != NUMBER)
            fail(parser, "a number is missing here");
        for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
            operand->high[type] = operand->low[type] += parser->number;
        advance(parser);
    }
}

/* A value or "low..high". */
static struct operand *parse_range(struct parser *parser, const struct query_field *field)
{
    struct operand *operand = calloc(1, sizeof(*operand)), end = {0};

    if (!operand) {
        parser->error = -ENOMEM;
        return NULL;
    }
    parse_value(parser, field, operand);
    if (!accept(parser, ".."))
        return operand;
    parse_value(parser, field, &end);
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
        operand->valid[type] &= end.valid[type];
        operand->high[type] = end.low[type];
    }
    return operand;
}

static struct operand *parse_list(struct parser *parser, const struct query_field *field)
{
    struct operand *first = parse_range(parser, field), *last = first;

    while (last && !parser->error && accept(parser, ","))
        last = last->next = parse_range(parser, field);
    expect(parser, "}");
    return first;
}

/* --- The tree
 * ---------------------------------------------------------------------------------------- */

static void free_node(struct node *node)
{
    struct operand *next;

    if (!node)
        return;
    for (struct operand *operand = node->operand; operand; operand = next) {
        next = operand->next;
        free(operand);
    }
    free_node(node->left);
    free_node(node->right);
    free(node);
}

static struct node *new_node(struct parser *parser, enum node_kind kind, struct node *left,
                             struct node *right)
{
    struct node *node = NULL;

    if (++parser->nodes > NODES_MAX)
        fail(parser, "the expression is too long");
    else if (!(node = calloc(1, sizeof(*node))))
        parser->error = -ENOMEM;
    if (!node) {
        free_node(left);
        free_node(right);
        return NULL;
    }
    node->kind = kind;
    node->left = left;
    node->right = right;
    return node;
}

static bool has_bytes(const struct query_field *field)
{
    for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
        if (field->kind == QUERY_TABLE && field->field[type] &&
            field->field[type]->kind == TRACE_FIELD_BYTES)
            return true;
    return false;
}

static void parse_bytes(struct parser *parser, struct node *node)
{
    node->relation = accept(parser, "!=") ? NOT_EQUAL : accept(parser, "~") ? CONTAINS : EQUAL;
    if (node->relation == EQUAL && !accept(parser, "==") && !accept(parser, "="))
        fail(parser, "\"==\", \"!=\" or \"~\" (contains) is missing here");
    if (parser->token != STRING)
        fail(parser, "a string in quotes is missing here");
    memcpy(node->bytes, parser->word, parser->length);
    node->length = parser->length;
    advance(parser);
}

static void parse_operator(struct parser *parser, struct node *node)
{
    static const struct {
        const char *sign;
        enum relation relation;
    } operators[] = {
        {"==", EQUAL},  {"=", EQUAL},       {"!=", NOT_EQUAL},     {"<", LESS},
        {">", GREATER}, {"<=", LESS_EQUAL}, {">=", GREATER_EQUAL}, {"&", BITS},
    };

    for (unsigned i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        if (!accept(parser, operators[i].sign))
            continue;
        node->relation = operators[i].relation;
        node->operand = calloc(1, sizeof(*node->operand));
        if (node->operand)
            parse_value(parser, &node->field, node->operand);
        else
            parser->error = -ENOMEM;
        return;
    }
    node->relation = IN;
    if (accept(parser, "in"))
        node->operand = accept(parser, "{") ? parse_list(parser, &node->field)
                                            : parse_range(parser, &node->field);
    /* Without an relation: anything but 0, told by an empty list. */
}

static struct node *parse_comparison(struct parser *parser)
{
    struct node *node = new_node(parser, NODE_COMPARISON, NULL, NULL);

    if (!node)
        return NULL;
    if (parser->token != NAME) {
        fail(parser, "a field is missing here");
    } else if (!query_field_find(parser->word, &node->field)) {
        char list[512];

        query_field_list(list, sizeof(list));
        fail(parser, "\"%s\" is not a field; fields are: %s", parser->word, list);
    } else {
        advance(parser);
        if (has_bytes(&node->field))
            parse_bytes(parser, node);
        else
            parse_operator(parser, node);
    }
    return node;
}

static struct node *parse_or(struct parser *parser);

static struct node *parse_not(struct parser *parser)
{
    struct node *node;

    if (++parser->depth > DEPTH_MAX)
        fail(parser, "the expression is nested too deep");
    if (parser->error)
        return NULL;
    if (accept(parser, "not") || accept(parser, "!")) {
        node = parse_not(parser);
        node = node ? new_node(parser, NODE_NOT, node, NULL) : NULL;
    } else if (accept(parser, "(")) {
        node = parse_or(parser);
        expect(parser, ")");
    } else {
        node = parse_comparison(parser);
    }
    parser->depth--;
    return node;
}

static struct node *parse_and(struct parser *parser)
{
    struct node *node = parse_not(parser);

    while (node && !parser->error && (accept(parser, "and") || accept(parser, "&&")))
        node = new_node(parser, NODE_AND, node, parse_not(parser));
    return node;
}

static struct node *parse_or(struct parser *parser)
{
    struct node *node = parse_and(parser);

    while (node && !parser->error && (accept(parser, "or") || accept(parser, "||")))
        node = new_node(parser, NODE_OR, node, parse_and(parser));
    return node;
}

int trace_query_parse(struct trace_query **result, const char *text,
                      const struct trace_names *names, char *message, size_t size)
{
    struct parser parser = {
        .text = text, .at = text, .names = names, .message = message, .message_size = size};
    struct trace_query *query = calloc(1, sizeof(*query));

    if (!query)
        return -ENOMEM;
    advance(&parser);
    query->root = parse_or(&parser);
    if (parser.token != END)
        fail(&parser, "\"%s\" is not expected here", parser.start);
    if (parser.error) {
        trace_query_free(query);
        return parser.error;
    }
    *result = query;
    return 0;
}

void trace_query_free(struct trace_query *query)
{
    if (!query)
        return;
    free_node(query->root);
    free(query);
}

/* --- Evaluation
 * -------------------------------------------------------------------------------------- */

static bool bytes_match(const struct node *node, const struct trace_event *event)
{
    const struct trace_field *field = node->field.field[event->type];
    const uint8_t *bytes;
    size_t count;

    if (!field || field->kind != TRACE_FIELD_BYTES)
        return false;
    bytes = (const uint8_t *)event + field->offset;
    count = bytes[-1];
    if (node->relation != CONTAINS)
        return (count == node->length && memcmp(bytes, node->bytes, count) == 0) ==
               (node->relation == EQUAL);
    for (size_t at = 0; at + node->length <= count; at++)
        if (memcmp(bytes + at, node->bytes, node->length) == 0)
            return true;
    return false;
}

static bool compares(enum relation relation, uint64_t value, uint64_t low, uint64_t high)
{
    switch (relation) {
    case EQUAL:
        return value == low;
    case NOT_EQUAL:
        return value != low;
    case LESS:
        return value < low;
    case LESS_EQUAL:
        return value <= low;
    case GREATER:
        return value > low;
    case GREATER_EQUAL:
        return value >= low;
    case BITS:
        return (value & low) != 0;
    default:
        return value >= low && value <= high;
    }
}

static bool comparison_matches(const struct node *node, uint64_t number,
                               const struct trace_event *event)
{
    const struct trace_field *field = node->field.field[event->type];
    uint64_t value;

    if (node->length || (field && field->kind == TRACE_FIELD_BYTES))
        return bytes_match(node, event);
    if (!query_field_value(&node->field, number, event, &value))
        return false;
    if (!node->operand)
        return value != 0;
    for (const struct operand *operand = node->operand; operand; operand = operand->next) {
        uint64_t low = operand->low[event->type];
        uint64_t held = value;

        if (!operand->valid[event->type])
            continue;
        /* The bits above the basic exit reason count only if they are asked for. */
        if (field && field->kind == TRACE_FIELD_REASON && low <= UINT16_MAX)
            held &= UINT16_MAX;
        if (compares(node->relation, held, low, operand->high[event->type]))
            return true;
    }
    return false;
}

static bool matches(const struct node *node, uint64_t number, const struct trace_event *event)
{
    switch (node->kind) {
    case NODE_AND:
        return matches(node->left, number, event) && matches(node->right, number, event);
    case NODE_OR:
        return matches(node->left, number, event) || matches(node->right, number, event);
    case NODE_NOT:
        return !matches(node->left, number, event);
    case NODE_COMPARISON:
        break;
    }
    return comparison_matches(node, number, event);
}

bool trace_query_matches(const struct trace_query *query, uint64_t number,
                         const struct trace_event *event)
{
    return event->type < TRACE_EVENT_TYPES && matches(query->root, number, event);
}
