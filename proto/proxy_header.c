#include "proto/proxy_header.h"

#include "proto/ip_text.h"

enum {
    V2_FIXED_BYTES = 16,
    V2_LENGTH_AT = 14,
    V2_TLV_HEAD_BYTES = 3,
    PORT_DIGITS_MAX = 5,
    PORT_MAX = 65535,
};

static const struct bytes v1_signature = {(const uint8_t *)"PROXY ", 6};
static const struct bytes v2_signature = {(const uint8_t *)"\r\n\r\n\0\r\nQUIT\n", 12};

static enum proxy_progress refuse(struct proxy_header *header, const char *reason)
{
    header->reason = reason;
    return PROXY_REJECTED;
}

/* Whether `input` is, as far as it goes, the beginning of `signature` or has it all. */
static bool agrees(struct bytes input, struct bytes signature)
{
    size_t length = input.length < signature.length ? input.length : signature.length;
    return bytes_equal(bytes_of(input.data, length), bytes_of(signature.data, length));
}

/* Version 1: a line of text ------------------------------------------------------------------------------------- */

/* The next word of the line, which one space separates from the one behind it. */
static bool take_word(struct bytes *line, struct bytes *ret_word)
{
    const uint8_t *space = line->length > 0 ? memchr(line->data, ' ', line->length) : NULL;
    if (!space)
        return false;
    size_t length = (size_t)(space - line->data);
    *ret_word = bytes_of(line->data, length);
    *line = bytes_skip(*line, length + 1);
    return true;
}

static bool parse_port(struct bytes text, uint16_t *ret_port)
{
    bool leading_zero = text.length > 1 && text.data[0] == '0';
    if (text.length == 0 || text.length > PORT_DIGITS_MAX || leading_zero)
        return false;
    unsigned port = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        port = port * 10 + (text.data[i] - (unsigned)'0');
    }
    if (port > PORT_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool parse_address(enum proxy_family family, struct bytes text, char output[IP_TEXT_MAX])
{
    uint8_t address[IP6_BYTES];
    if (family == PROXY_IPV4) {
        if (!ip_text_parse4(text, address))
            return false;
        ip_text_format4(address, output);
        return true;
    }
    if (!ip_text_parse6(text, address))
        return false;
    ip_text_format6(address, output);
    return true;
}

/* source SP destination SP source-port SP destination-port */
static bool parse_v1_addresses(struct proxy_header *header, struct bytes line)
{
    struct bytes source, destination, source_port;
    return take_word(&line, &source) && take_word(&line, &destination) && take_word(&line, &source_port) &&
           parse_address(header->family, source, header->source) &&
           parse_address(header->family, destination, header->destination) &&
           parse_port(source_port, &header->source_port) && parse_port(line, &header->destination_port);
}

static enum proxy_progress parse_v1_line(struct proxy_header *header, struct bytes line)
{
    const struct bytes unknown = BYTES_LITERAL("UNKNOWN");
    struct bytes rest = bytes_skip(line, v1_signature.length), protocol;
    header->version = PROXY_V1;
    /* The receiver must ignore whatever stands behind UNKNOWN. */
    if (agrees(rest, unknown) && rest.length >= unknown.length &&
        (rest.length == unknown.length || rest.data[unknown.length] == ' '))
        return PROXY_READY;
    if (!take_word(&rest, &protocol))
        return refuse(header, "PROXY line ends early");
    if (bytes_equal(protocol, BYTES_LITERAL("TCP4")))
        header->family = PROXY_IPV4;
    else if (bytes_equal(protocol, BYTES_LITERAL("TCP6")))
        header->family = PROXY_IPV6;
    else
        return refuse(header, "unknown protocol in the PROXY line");
    return parse_v1_addresses(header, rest) ? PROXY_READY : refuse(header, "malformed address in the PROXY line");
}

static enum proxy_progress feed_v1(struct proxy_header *header, struct bytes input, size_t *ret_consumed)
{
    /* CR can stand in the last place but one at most; behind that nothing is looked at, so that no cut matters. */
    size_t length = input.length < PROXY_V1_BYTES_MAX ? input.length : PROXY_V1_BYTES_MAX - 1;
    const uint8_t *cr = memchr(input.data, '\r', length);
    size_t line_length = cr ? (size_t)(cr - input.data) : length;
    if (memchr(input.data, '\n', line_length) != NULL)
        return refuse(header, "bare LF in the PROXY line");
    if (line_length + 2 > PROXY_V1_BYTES_MAX)
        return refuse(header, "PROXY line too long");
    if (line_length + 2 > input.length)
        return PROXY_NEED_MORE;
    if (input.data[line_length + 1] != '\n')
        return refuse(header, "bare CR in the PROXY line");
    enum proxy_progress progress = parse_v1_line(header, bytes_of(input.data, line_length));
    if (progress == PROXY_READY)
        *ret_consumed = line_length + 2;
    return progress;
}

/* Version 2: binary --------------------------------------------------------------------------------------------- */

static uint16_t load_be16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

/* The type-length-value vectors behind the addresses: none may pass the end of the header. */
static bool tlvs_fit(struct bytes tlvs)
{
    while (tlvs.length > 0) {
        if (tlvs.length < V2_TLV_HEAD_BYTES)
            return false;
        size_t value_length = load_be16(tlvs.data + 1);
        if (value_length > tlvs.length - V2_TLV_HEAD_BYTES)
            return false;
        tlvs = bytes_skip(tlvs, V2_TLV_HEAD_BYTES + value_length);
    }
    return true;
}

/* Indexed by the high half of the family octet. */
static const struct {
    enum proxy_family family;
    uint8_t addresses_bytes;
} v2_families[] = {
    {PROXY_UNKNOWN, 0},
    {PROXY_IPV4, 2 * (IP4_BYTES + 2)},
    {PROXY_IPV6, 2 * (IP6_BYTES + 2)},
    {PROXY_UNIX, 2 * 108},
};

static void read_v2_addresses(struct proxy_header *header, const uint8_t *addresses)
{
    if (header->family == PROXY_IPV4) {
        ip_text_format4(addresses, header->source);
        ip_text_format4(addresses + IP4_BYTES, header->destination);
    } else if (header->family == PROXY_IPV6) {
        ip_text_format6(addresses, header->source);
        ip_text_format6(addresses + IP6_BYTES, header->destination);
    } else {
        return;
    }
    size_t ports_at = header->family == PROXY_IPV4 ? 2 * IP4_BYTES : 2 * IP6_BYTES;
    header->source_port = load_be16(addresses + ports_at);
    header->destination_port = load_be16(addresses + ports_at + 2);
}

enum {
    V2_COMMAND_LOCAL = 0x20, /* a health check of the balancer itself: addresses are to be ignored */
    V2_COMMAND_PROXY = 0x21,
    V2_FAMILIES = sizeof(v2_families) / sizeof(v2_families[0]),
    V2_TRANSPORT_STREAM = 1,
    V2_TRANSPORT_DATAGRAM = 2,
};

/* Version, command and family stand in the fixed part, so they are refused before the rest is waited for. */
static bool check_v2_fixed(struct proxy_header *header, uint8_t command, uint8_t family)
{
    header->version = PROXY_V2;
    if (command == V2_COMMAND_LOCAL)
        return true;
    if (command != V2_COMMAND_PROXY) {
        (void)refuse(header, "unknown version or command in the PROXY header");
        return false;
    }
    if (family >> 4 >= V2_FAMILIES || (family & 15) > V2_TRANSPORT_DATAGRAM) {
        (void)refuse(header, "unknown address family in the PROXY header");
        return false;
    }
    return true;
}

/* `payload` is what the header's length counts: addresses and TLVs. */
static enum proxy_progress parse_v2_payload(struct proxy_header *header, uint8_t command, uint8_t family,
                                            struct bytes payload)
{
    unsigned index = family >> 4;
    if (command == V2_COMMAND_LOCAL || index == 0)
        return PROXY_READY;
    size_t addresses_bytes = v2_families[index].addresses_bytes;
    if (payload.length < addresses_bytes || !tlvs_fit(bytes_skip(payload, addresses_bytes)))
        return refuse(header, "PROXY header shorter than what it holds");
    /* Datagrams cannot have come over this connection: the socket's own addresses are kept. */
    if ((family & 15) != V2_TRANSPORT_STREAM)
        return PROXY_READY;
    header->family = v2_families[index].family;
    read_v2_addresses(header, payload.data);
    return PROXY_READY;
}

static enum proxy_progress feed_v2(struct proxy_header *header, struct bytes input, size_t *ret_consumed)
{
    if (input.length < V2_FIXED_BYTES)
        return PROXY_NEED_MORE;
    uint8_t command = input.data[12], family = input.data[13];
    if (!check_v2_fixed(header, command, family))
        return PROXY_REJECTED;
    size_t payload_length = load_be16(input.data + V2_LENGTH_AT);
    if (input.length - V2_FIXED_BYTES < payload_length)
        return PROXY_NEED_MORE;
    struct bytes payload = bytes_of(input.data + V2_FIXED_BYTES, payload_length);
    enum proxy_progress progress = parse_v2_payload(header, command, family, payload);
    if (progress == PROXY_READY)
        *ret_consumed = V2_FIXED_BYTES + payload_length;
    return progress;
}

enum proxy_progress proxy_header_feed(struct proxy_header *header, enum proxy_version accept, struct bytes input,
                                      size_t *ret_consumed)
{
    *header = (struct proxy_header){};
    if (input.length == 0)
        return PROXY_NEED_MORE;
    bool is_v1 = (accept & PROXY_V1) != 0 && agrees(input, v1_signature);
    bool is_v2 = (accept & PROXY_V2) != 0 && agrees(input, v2_signature);
    if (!is_v1 && !is_v2)
        return refuse(header, "no PROXY header");
    /* The signatures differ in their first octet, so it is one of the two from there on. */
    if (is_v1)
        return input.length < v1_signature.length ? PROXY_NEED_MORE : feed_v1(header, input, ret_consumed);
    return feed_v2(header, input, ret_consumed);
}
