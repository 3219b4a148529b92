#include "proto/ip_text.h"

enum { GROUPS = IP6_BYTES / 2 };

static int hex_digit(uint8_t octet)
{
    if (octet >= '0' && octet <= '9')
        return octet - '0';
    uint8_t lower = bytes_lower(octet);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool ip_text_parse4(struct bytes text, uint8_t ret_address[IP4_BYTES])
{
    uint8_t address[IP4_BYTES];
    size_t at = 0;
    for (size_t part = 0; part < IP4_BYTES; part++) {
        if (part > 0 && (at == text.length || text.data[at++] != '.'))
            return false;
        unsigned value = 0;
        size_t start = at;
        while (at < text.length && at - start < 3 && text.data[at] >= '0' && text.data[at] <= '9')
            value = value * 10 + (unsigned)(text.data[at++] - '0');
        bool leading_zero = at - start > 1 && text.data[start] == '0';
        if (at == start || leading_zero || value > 255)
            return false;
        address[part] = (uint8_t)value;
    }
    if (at != text.length)
        return false;
    memcpy(ret_address, address, sizeof(address));
    return true;
}

/* One to four hexadecimal digits at the front of `text`; returns how many, 0 for none. */
static size_t parse_group(struct bytes text, uint8_t group[2])
{
    unsigned value = 0;
    size_t at = 0;
    while (at < text.length && at < 4 && hex_digit(text.data[at]) >= 0)
        value = value << 4 | (unsigned)hex_digit(text.data[at++]);
    group[0] = (uint8_t)(value >> 8);
    group[1] = (uint8_t)value;
    return at;
}

/*
 * Groups separated by ':', up to `room` of them, the last two perhaps as an IPv4 address. Returns the number of groups
 * and, in *ret_rest, what follows them: nothing, or the "::".
 */
static size_t parse_groups(struct bytes text, uint8_t *address, size_t room, struct bytes *ret_rest)
{
    size_t count = 0;
    while (count < room) {
        if (count + 2 <= room && ip_text_parse4(text, address + 2 * count)) {
            *ret_rest = bytes_skip(text, text.length);
            return count + 2;
        }
        size_t digits = parse_group(text, address + 2 * count);
        if (digits == 0)
            break;
        count++;
        text = bytes_skip(text, digits);
        bool another = text.length >= 2 && text.data[0] == ':' && text.data[1] != ':';
        if (!another || count == room)
            break;
        text = bytes_skip(text, 1);
    }
    *ret_rest = text;
    return count;
}

bool ip_text_parse6(struct bytes text, uint8_t ret_address[IP6_BYTES])
{
    uint8_t front[IP6_BYTES] = {}, back[IP6_BYTES] = {};
    size_t front_count = parse_groups(text, front, GROUPS, &text);
    if (text.length == 0) {
        if (front_count != GROUPS)
            return false;
        memcpy(ret_address, front, IP6_BYTES);
        return true;
    }
    /* "::" stands for at least one group of zeros. */
    if (text.length < 2 || text.data[0] != ':' || text.data[1] != ':' || front_count == GROUPS)
        return false;
    text = bytes_skip(text, 2);
    size_t back_count = parse_groups(text, back, GROUPS - 1 - front_count, &text);
    if (text.length != 0)
        return false;
    memcpy(front + IP6_BYTES - 2 * back_count, back, 2 * back_count);
    memcpy(ret_address, front, IP6_BYTES);
    return true;
}

static char *put_decimal(char *at, unsigned value)
{
    if (value >= 100)
        *at++ = (char)('0' + value / 100);
    if (value >= 10)
        *at++ = (char)('0' + value / 10 % 10);
    *at++ = (char)('0' + value % 10);
    return at;
}

static char *put_dotted(char *at, const uint8_t address[IP4_BYTES])
{
    for (size_t part = 0; part < IP4_BYTES; part++) {
        if (part > 0)
            *at++ = '.';
        at = put_decimal(at, address[part]);
    }
    return at;
}

void ip_text_format4(const uint8_t address[IP4_BYTES], char output[IP_TEXT_MAX])
{
    *put_dotted(output, address) = '\0';
}

static unsigned group_of(const uint8_t address[IP6_BYTES], size_t index)
{
    return (unsigned)(address[2 * index] << 8 | address[2 * index + 1]);
}

static char *put_group(char *at, unsigned value)
{
    bool started = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
        unsigned digit = value >> shift & 15;
        started |= digit != 0 || shift == 0;
        if (started)
            *at++ = "0123456789abcdef"[digit];
    }
    return at;
}

/* RFC 5952 4.2: the longest run of at least two zero groups, the first of equals; its length is 0 if there is none. */
static size_t longest_zero_run(const uint8_t address[IP6_BYTES], size_t *ret_start)
{
    size_t best = 1, run = 0;
    *ret_start = GROUPS;
    for (size_t i = 0; i < GROUPS; i++) {
        run = group_of(address, i) == 0 ? run + 1 : 0;
        if (run > best) {
            best = run;
            *ret_start = i + 1 - run;
        }
    }
    return best > 1 ? best : 0;
}

void ip_text_format6(const uint8_t address[IP6_BYTES], char output[IP_TEXT_MAX])
{
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    char *at = output;
    if (memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        memcpy(at, "::ffff:", 7);
        *put_dotted(at + 7, address + sizeof(mapped_prefix)) = '\0';
        return;
    }
    size_t run_start;
    size_t run = longest_zero_run(address, &run_start);
    for (size_t i = 0; i < GROUPS;) {
        if (i == run_start) {
            *at++ = ':';
            *at++ = ':';
            i += run;
            continue;
        }
        if (i > 0 && i != run_start + run)
            *at++ = ':';
        at = put_group(at, group_of(address, i++));
    }
    *at = '\0';
}
