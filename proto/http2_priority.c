#include "proto/http2_priority.h"

#include <assert.h>

#include "proto/http_octets.h"

/* The `priority` value: a dictionary of structured fields ---------------------------------------------------------- */

enum { INTEGER_DIGITS_MAX = 15, DECIMAL_DIGITS_MAX = 12, FRACTION_DIGITS_MAX = 3 }; /* RFC 8941 3.3.1, 3.3.2 */

/* What a member may be to us: an integer, a boolean, or something else that is well-formed. */
struct item {
    enum { ITEM_INTEGER, ITEM_BOOLEAN, ITEM_OTHER } kind;
    int64_t number;
};

/* Takes `octet` off the front, if it is there. */
static bool take(struct bytes *rest, uint8_t octet)
{
    if (rest->length == 0 || rest->data[0] != octet)
        return false;
    *rest = bytes_skip(*rest, 1);
    return true;
}

static void skip_spaces(struct bytes *rest)
{
    while (take(rest, ' '))
        continue;
}

static void skip_blanks(struct bytes *rest)
{
    while (rest->length > 0 && http_octet_is(rest->data[0], OCTET_BLANK))
        *rest = bytes_skip(*rest, 1);
}

static bool is_lower_alpha(uint8_t octet)
{
    return octet >= 'a' && octet <= 'z';
}

/* RFC 8941 3.1.2: ( lcalpha / "*" ) *( lcalpha / DIGIT / "_" / "-" / "." / "*" ). */
static bool parse_key(struct bytes *rest, struct bytes *ret_key)
{
    size_t length = 0;
    while (length < rest->length) {
        uint8_t octet = rest->data[length];
        bool anywhere = is_lower_alpha(octet) || octet == '*';
        bool inside = http_octet_is(octet, OCTET_DIGIT) || octet == '_' || octet == '-' || octet == '.';
        if (!anywhere && (length == 0 || !inside))
            break;
        length++;
    }
    if (length == 0)
        return false;
    *ret_key = bytes_of(rest->data, length);
    *rest = bytes_skip(*rest, length);
    return true;
}

static size_t count_digits(struct bytes text)
{
    size_t count = 0;
    while (count < text.length && http_octet_is(text.data[count], OCTET_DIGIT))
        count++;
    return count;
}

/* RFC 8941 3.3.1, 3.3.2: an integer, or a decimal, whose value is nothing to us. */
static bool parse_number(struct bytes *rest, struct item *item)
{
    bool negative = take(rest, '-');
    size_t digits = count_digits(*rest);
    if (digits == 0 || digits > INTEGER_DIGITS_MAX)
        return false;
    int64_t number = 0;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (rest->data[i] - '0');
    *item = (struct item){ITEM_INTEGER, negative ? -number : number};
    *rest = bytes_skip(*rest, digits);
    if (!take(rest, '.'))
        return true;
    size_t fraction = count_digits(*rest);
    *item = (struct item){.kind = ITEM_OTHER};
    *rest = bytes_skip(*rest, fraction);
    return digits <= DECIMAL_DIGITS_MAX && fraction > 0 && fraction <= FRACTION_DIGITS_MAX;
}

/* RFC 8941 3.3.3, behind the opening quote. */
static bool parse_string(struct bytes *rest)
{
    while (rest->length > 0) {
        uint8_t octet = rest->data[0];
        *rest = bytes_skip(*rest, 1);
        if (octet == '"')
            return true;
        if (octet < 0x20 || octet >= 0x7f)
            return false;
        if (octet == '\\' && !take(rest, '"') && !take(rest, '\\'))
            return false;
    }
    return false;
}

/* RFC 8941 3.3.4; its first octet, a letter or "*", has been seen. */
static void skip_token(struct bytes *rest)
{
    while (rest->length > 0 && (http_lower_tchar[rest->data[0]] != 0 || rest->data[0] == ':' || rest->data[0] == '/'))
        *rest = bytes_skip(*rest, 1);
}

/* RFC 8941 3.3.5, behind the opening colon; as lenient about padding as its 4.2.7 allows. */
static bool parse_byte_sequence(struct bytes *rest)
{
    while (rest->length > 0) {
        uint8_t octet = rest->data[0];
        *rest = bytes_skip(*rest, 1);
        if (octet == ':')
            return true;
        bool base64 = is_lower_alpha(bytes_lower(octet)) || http_octet_is(octet, OCTET_DIGIT) || octet == '+' ||
                      octet == '/' || octet == '=';
        if (!base64)
            return false;
    }
    return false;
}

/* RFC 8941 3.3: which of the types it is, its first octet tells. */
static bool parse_bare_item(struct bytes *rest, struct item *item)
{
    if (rest->length == 0)
        return false;
    uint8_t octet = rest->data[0];
    *item = (struct item){.kind = ITEM_OTHER};
    if (octet == '-' || http_octet_is(octet, OCTET_DIGIT))
        return parse_number(rest, item);
    if (octet == '*' || is_lower_alpha(bytes_lower(octet))) {
        skip_token(rest);
        return true;
    }
    *rest = bytes_skip(*rest, 1);
    if (octet == '"')
        return parse_string(rest);
    if (octet == ':')
        return parse_byte_sequence(rest);
    bool truth = take(rest, '1');
    *item = (struct item){ITEM_BOOLEAN, truth};
    return octet == '?' && (truth || take(rest, '0'));
}

/* RFC 8941 3.1.2: *( ";" *SP key [ "=" bare-item ] ). */
static bool parse_parameters(struct bytes *rest)
{
    while (take(rest, ';')) {
        struct bytes key;
        struct item item;
        skip_spaces(rest);
        if (!parse_key(rest, &key) || (take(rest, '=') && !parse_bare_item(rest, &item)))
            return false;
    }
    return true;
}

/* RFC 8941 3.1.1, behind the opening parenthesis: items with parameters, spaces between them. */
static bool parse_inner_list(struct bytes *rest)
{
    for (;;) {
        struct item item;
        skip_spaces(rest);
        if (take(rest, ')'))
            return true;
        if (!parse_bare_item(rest, &item) || !parse_parameters(rest))
            return false;
        if (rest->length == 0 || (rest->data[0] != ' ' && rest->data[0] != ')'))
            return false;
    }
}

/* RFC 8941 3.2: key [ "=" ( item / inner-list ) ] parameters; a key alone is a boolean. */
static bool parse_member(struct bytes *rest, struct bytes *ret_key, struct item *ret_item)
{
    if (!parse_key(rest, ret_key))
        return false;
    *ret_item = (struct item){ITEM_BOOLEAN, true};
    if (take(rest, '=')) {
        bool is_list = take(rest, '(');
        *ret_item = (struct item){.kind = ITEM_OTHER};
        if (is_list ? !parse_inner_list(rest) : !parse_bare_item(rest, ret_item))
            return false;
    }
    return parse_parameters(rest);
}

/* RFC 9218 4. Of a key that comes twice the last value counts (RFC 8941 3.2), even when it is one to be ignored. */
static void apply_member(struct http2_priority *priority, const struct http2_priority *before, struct bytes key,
                         struct item item)
{
    if (bytes_equal(key, BYTES_LITERAL("u"))) {
        bool good = item.kind == ITEM_INTEGER && item.number >= 0 && item.number < HTTP2_URGENCIES;
        priority->urgency = good ? (uint8_t)item.number : before->urgency;
    }
    if (bytes_equal(key, BYTES_LITERAL("i")))
        priority->incremental = item.kind == ITEM_BOOLEAN ? item.number != 0 : before->incremental;
}

void http2_priority_parse(struct bytes value, struct http2_priority *priority)
{
    struct http2_priority parsed = *priority;
    if (value.length > HTTP2_PRIORITY_VALUE_MAX)
        return;
    skip_spaces(&value);
    while (value.length > 0) {
        struct bytes key;
        struct item item;
        if (!parse_member(&value, &key, &item))
            return;
        apply_member(&parsed, priority, key, item);
        skip_blanks(&value);
        if (value.length == 0)
            break;
        bool comma = take(&value, ',');
        skip_blanks(&value);
        if (!comma || value.length == 0)
            return;
    }
    *priority = parsed;
}

/* Who is next ------------------------------------------------------------------------------------------------------ */

static struct http2_queue *queue_of(struct http2_schedule *schedule, const struct http2_turn *turn)
{
    return &schedule->queues[turn->priority.urgency];
}

/* The list of a queue that a turn belongs to, named by its first. */
static struct http2_turn **list_of(struct http2_queue *queue, const struct http2_turn *turn)
{
    return turn->priority.incremental ? &queue->incremental : &queue->sequential;
}

/* Lists are rings: the last is the one before the first. */
static void insert_before(struct http2_turn *place, struct http2_turn *turn)
{
    turn->next = place;
    turn->previous = place->previous;
    place->previous->next = turn;
    place->previous = turn;
}

/* By id. New streams belong at the end, and the one that was being sent at the front; between them there is a walk, of
 * no more steps than streams wait. */
static void insert_by_id(struct http2_turn **first, struct http2_turn *turn)
{
    struct http2_turn *place = *first;
    if (turn->id < place->id) {
        *first = turn;
    } else {
        while (place->previous->id > turn->id)
            place = place->previous;
    }
    insert_before(place, turn);
}

void http2_schedule_add(struct http2_schedule *schedule, struct http2_turn *turn)
{
    assert(turn->priority.urgency < HTTP2_URGENCIES);
    if (turn->waiting)
        return;
    struct http2_turn **first = list_of(queue_of(schedule, turn), turn);
    if (!*first)
        *first = turn->next = turn->previous = turn;
    else if (turn->priority.incremental)
        insert_before(*first, turn);
    else
        insert_by_id(first, turn);
    turn->waiting = true;
    turn->turn_bytes = 0;
    schedule->occupied |= (uint8_t)(1U << turn->priority.urgency);
    schedule->waiting_count++;
}

/* The other kind is next, should both wait. */
static void end_turn(struct http2_queue *queue, struct http2_turn *turn)
{
    turn->turn_bytes = 0;
    queue->incremental_next = !turn->priority.incremental;
}

void http2_schedule_remove(struct http2_schedule *schedule, struct http2_turn *turn)
{
    if (!turn->waiting)
        return;
    struct http2_queue *queue = queue_of(schedule, turn);
    struct http2_turn **first = list_of(queue, turn);
    /* Without this, short incremental streams, none of which ever fills its turn, would keep the others waiting. */
    if (turn->turn_bytes > 0)
        end_turn(queue, turn);
    if (*first == turn)
        *first = turn->next == turn ? NULL : turn->next;
    turn->previous->next = turn->next;
    turn->next->previous = turn->previous;
    turn->next = turn->previous = NULL;
    turn->waiting = false;
    if (!queue->sequential && !queue->incremental)
        schedule->occupied &= (uint8_t) ~(1U << turn->priority.urgency);
    schedule->waiting_count--;
}

void http2_schedule_change(struct http2_schedule *schedule, struct http2_turn *turn, struct http2_priority priority)
{
    assert(priority.urgency < HTTP2_URGENCIES);
    if (turn->priority.urgency == priority.urgency && turn->priority.incremental == priority.incremental)
        return;
    bool waits = turn->waiting;
    http2_schedule_remove(schedule, turn);
    turn->priority = priority;
    if (waits)
        http2_schedule_add(schedule, turn);
}

struct http2_turn *http2_schedule_next(const struct http2_schedule *schedule)
{
    if (schedule->occupied == 0)
        return NULL;
    const struct http2_queue *queue = &schedule->queues[__builtin_ctz(schedule->occupied)];
    if (!queue->sequential || (queue->incremental && queue->incremental_next))
        return queue->incremental;
    return queue->sequential;
}

void http2_schedule_sent(struct http2_schedule *schedule, struct http2_turn *turn, uint32_t bytes)
{
    struct http2_queue *queue = queue_of(schedule, turn);
    if (!turn->waiting) {
        end_turn(queue, turn);
        return;
    }
    turn->turn_bytes += bytes < HTTP2_PRIORITY_TURN ? bytes : HTTP2_PRIORITY_TURN;
    if (turn->turn_bytes < HTTP2_PRIORITY_TURN)
        return;
    end_turn(queue, turn);
    if (queue->incremental == turn)
        queue->incremental = turn->next; /* in a ring, the end is one step behind the front */
}
