/* Queries: a parser by recursive descent into a tree, and its evaluation. */
#include "traces/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "traces/query_field.h"
#include "traces/query_words.h"

#define NODES_MAX 256
#define DEPTH_MAX 64

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
    char bytes[QUERY_WORD_MAX]; /* what TRACE_FIELD_BYTES are compared with */
    size_t length;              /* of bytes */
};

struct trace_query {
    struct node *root;
};

struct parser {
    struct query_words words;
    const struct trace_names *names;
    unsigned nodes, depth;
};

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
    if (parser->words.token == QUERY_VALUE) {
        for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++) {
            operand->valid[type] = true;
            operand->low[type] = operand->high[type] = parser->words.number;
        }
    } else if (parser->words.token == QUERY_NAME) {
        if (!find_name_in_types(parser, field, parser->words.word, operand))
            query_fail(&parser->words, "the field has no value \"%s\"%s", parser->words.word,
                       takes_symbols(field) ? ": no symbol has this name (are symbols given?)"
                                            : "");
    } else {
        query_fail(&parser->words, "a number or a name is missing here");
    }
    query_advance(&parser->words);
    if (query_accept(&parser->words, "+")) {
        if (parser->words.token != QUERY_VALUE)
            query_fail(&parser->words, "a number is missing here");
        for (unsigned type = 1; type < TRACE_EVENT_TYPES; type++)
            operand->high[type] = operand->low[type] += parser->words.number;
        query_advance(&parser->words);
    }
}

/* A value or "low..high". */
static struct operand *parse_range(struct parser *parser, const struct query_field *field)
{
    struct operand *operand = calloc(1, sizeof(*operand)), end = {0};

    if (!operand) {
        parser->words.error = -ENOMEM;
        return NULL;
    }
    parse_value(parser, field, operand);
    if (!query_accept(&parser->words, ".."))
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

    while (last && !parser->words.error && query_accept(&parser->words, ","))
        last = last->next = parse_range(parser, field);
    query_expect(&parser->words, "}");
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
        query_fail(&parser->words, "the expression is too long");
    else if (!(node = calloc(1, sizeof(*node))))
        parser->words.error = -ENOMEM;
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
    node->relation = query_accept(&parser->words, "!=")  ? NOT_EQUAL
                     : query_accept(&parser->words, "~") ? CONTAINS
                                                         : EQUAL;
    if (node->relation == EQUAL && !query_accept(&parser->words, "==") &&
        !query_accept(&parser->words, "="))
        query_fail(&parser->words, "\"==\", \"!=\" or \"~\" (contains) is missing here");
    if (parser->words.token != QUERY_STRING)
        query_fail(&parser->words, "a string in quotes is missing here");
    memcpy(node->bytes, parser->words.word, parser->words.length);
    node->length = parser->words.length;
    query_advance(&parser->words);
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
        if (!query_accept(&parser->words, operators[i].sign))
            continue;
        node->relation = operators[i].relation;
        node->operand = calloc(1, sizeof(*node->operand));
        if (node->operand)
            parse_value(parser, &node->field, node->operand);
        else
            parser->words.error = -ENOMEM;
        return;
    }
    node->relation = IN;
    if (query_accept(&parser->words, "in"))
        node->operand = query_accept(&parser->words, "{") ? parse_list(parser, &node->field)
                                                          : parse_range(parser, &node->field);
    /* Without an relation: anything but 0, told by an empty list. */
}

static struct node *parse_comparison(struct parser *parser)
{
    struct node *node = new_node(parser, NODE_COMPARISON, NULL, NULL);

    if (!node)
        return NULL;
    if (parser->words.token != QUERY_NAME) {
        query_fail(&parser->words, "a field is missing here");
    } else if (!query_field_find(parser->words.word, &node->field)) {
        char list[512];

        query_field_list(list, sizeof(list));
        query_fail(&parser->words, "\"%s\" is not a field; fields are: %s", parser->words.word,
                   list);
    } else {
        query_advance(&parser->words);
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
        query_fail(&parser->words, "the expression is nested too deep");
    if (parser->words.error)
        return NULL;
    if (query_accept(&parser->words, "not") || query_accept(&parser->words, "!")) {
        node = parse_not(parser);
        node = node ? new_node(parser, NODE_NOT, node, NULL) : NULL;
    } else if (query_accept(&parser->words, "(")) {
        node = parse_or(parser);
        query_expect(&parser->words, ")");
    } else {
        node = parse_comparison(parser);
    }
    parser->depth--;
    return node;
}

static struct node *parse_and(struct parser *parser)
{
    struct node *node = parse_not(parser);

    while (node && !parser->words.error &&
           (query_accept(&parser->words, "and") || query_accept(&parser->words, "&&")))
        node = new_node(parser, NODE_AND, node, parse_not(parser));
    return node;
}

static struct node *parse_or(struct parser *parser)
{
    struct node *node = parse_and(parser);

    while (node && !parser->words.error &&
           (query_accept(&parser->words, "or") || query_accept(&parser->words, "||")))
        node = new_node(parser, NODE_OR, node, parse_and(parser));
    return node;
}

int trace_query_parse(struct trace_query **result, const char *text,
                      const struct trace_names *names, char *message, size_t size)
{
    struct parser parser = {
        .words = {.text = text, .at = text, .message = message, .message_size = size},
        .names = names,
    };
    struct trace_query *query = calloc(1, sizeof(*query));

    if (!query)
        return -ENOMEM;
    query_advance(&parser.words);
    query->root = parse_or(&parser);
    if (parser.words.token != QUERY_END)
        query_fail(&parser.words, "\"%s\" is not expected here", parser.words.start);
    if (parser.words.error) {
        trace_query_free(query);
        return parser.words.error;
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
