/*
 * HPACK stories: the decoder and the encoder of one connection on standard input and output, for a test that has
 * another implementation at the other end (tests/integration/test_hpack_stories.py). Octets are hex, "-" for none.
 *
 *   decode PIECE...           a block in pieces     answered by: field NAME VALUE 0|1 (never indexed), then `end` or
 * `wrong` field NAME VALUE          of the next `encode`  no answer encode STATUS             0: without a status
 * answered by: block OCTETS limit BYTES               of the peer's table   no answer
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/hpack.h"

enum { BLOCK_BYTES = 1 << 18, MEMORY_BYTES = 1 << 20, FIELDS_MAX = 1'000 };

struct connection {
    struct hpack_decoder decoder;
    struct hpack_encoder encoder;
    struct hpack_entry decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_entry encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_field fields[FIELDS_MAX];
    uint8_t memory[MEMORY_BYTES];
    uint8_t block[BLOCK_BYTES];
    uint8_t fields_to_encode[BLOCK_BYTES]; /* of `field` lines: lengths and octets */
    size_t fields_to_encode_used;
};

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Octets of the next word of the line; false at its end. */
static bool read_hex(char **line, uint8_t *out, size_t capacity, size_t *ret_length)
{
    char *word = strsep(line, " ");
    if (!word || *word == '\0')
        return false;
    size_t length = *word == '-' ? 0 : strlen(word) / 2;
    assert(length <= capacity);
    for (size_t i = 0; i < length; i++)
        out[i] = (uint8_t)(hex_digit(word[2 * i]) << 4 | hex_digit(word[2 * i + 1]));
    *ret_length = length;
    return true;
}

static void print_hex(const uint8_t *data, size_t length)
{
    putchar(length == 0 ? '-' : ' ');
    for (size_t i = 0; i < length; i++)
        printf("%02x", data[i]);
}

static void print_fields(const struct connection *connection, const struct hpack_section *section)
{
    for (uint32_t i = 0; i < section->field_count; i++) {
        const struct hpack_field *field = &section->fields[i];
        const uint8_t *name = connection->memory + field->name_offset;
        assert(field->id == http_field_id_of(bytes_of(name, field->name_length)));
        printf("field ");
        print_hex(name, field->name_length);
        printf(" ");
        print_hex(connection->memory + field->value_offset, field->value_length);
        printf(" %d\n", field->never_indexed);
    }
}

static void decode(struct connection *connection, char *line)
{
    struct hpack_section section = {.memory = connection->memory,
                                    .memory_bytes = MEMORY_BYTES,
                                    .fields = connection->fields,
                                    .fields_max = FIELDS_MAX};
    size_t length = 0, taken = 0, piece;
    bool good = true;
    hpack_decode_begin(&connection->decoder);
    while (good && read_hex(&line, connection->block + length, BLOCK_BYTES - length, &piece)) {
        size_t consumed = 0;
        length += piece;
        good = hpack_decode(&connection->decoder, bytes_of(connection->block + taken, length - taken), &section,
                            &consumed);
        taken += consumed;
    }
    print_fields(connection, &section);
    puts(good && taken == length && !section.overflowed ? "end" : "wrong");
}

static void keep_text(struct connection *connection, char **line)
{
    uint8_t *at = connection->fields_to_encode + connection->fields_to_encode_used;
    size_t length, room = BLOCK_BYTES - connection->fields_to_encode_used;
    bool there = read_hex(line, at + sizeof(length), room - sizeof(length), &length);
    assert(there);
    memcpy(at, &length, sizeof(length));
    connection->fields_to_encode_used += sizeof(length) + length;
}

static struct bytes take_text(struct connection *connection, size_t *at)
{
    size_t length;
    memcpy(&length, connection->fields_to_encode + *at, sizeof(length));
    struct bytes text = bytes_of(connection->fields_to_encode + *at + sizeof(length), length);
    *at += sizeof(length) + length;
    return text;
}

static void encode(struct connection *connection, uint16_t status)
{
    size_t used = status > 0 ? hpack_encode_status(&connection->encoder, status, connection->block) : 0;
    for (size_t at = 0; at < connection->fields_to_encode_used;) {
        struct bytes name = take_text(connection, &at), value = take_text(connection, &at);
        size_t most = hpack_encoded_max(name.length, value.length);
        assert(most <= BLOCK_BYTES - used);
        size_t length =
            hpack_encode(&connection->encoder, name, http_field_id_of(name), value, connection->block + used);
        assert(length > 0 && length <= most);
        used += length;
    }
    connection->fields_to_encode_used = 0;
    printf("block ");
    print_hex(connection->block, used);
    printf("\n");
}

static void obey(struct connection *connection, char *line)
{
    const char *command = strsep(&line, " ");
    if (strcmp(command, "decode") == 0) {
        decode(connection, line);
    } else if (strcmp(command, "field") == 0) {
        keep_text(connection, &line);
        keep_text(connection, &line);
    } else if (strcmp(command, "encode") == 0) {
        encode(connection, (uint16_t)strtoul(line, NULL, 10));
    } else {
        assert(strcmp(command, "limit") == 0);
        hpack_encoder_limit(&connection->encoder, (uint32_t)strtoul(line, NULL, 10));
    }
    fflush(stdout);
}

int main(void)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    char *line = NULL;
    size_t room = 0;
    assert(connection);
    hpack_decoder_init(&connection->decoder, connection->decoder_memory);
    hpack_encoder_init(&connection->encoder, connection->encoder_memory);
    for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
        line[length - 1] = '\0';
        obey(connection, line);
    }
    free(line);
    free(connection);
    return 0;
}
