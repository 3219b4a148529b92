/*
 * HPACK (RFC 7541): field sections as HTTP/2 carries them.
 *
 * The decoder takes a field block as it arrives, in pieces of any size: it consumes whole representations and leaves
 * the beginning of one that is cut to be given again with what follows. Decoded names and values are written into the
 * caller's memory, one behind the other, and named by offsets, so that the memory may move while a block is incomplete.
 * What no longer fits, or is beyond a limit, is decoded all the same, for the sake of the dynamic table, and dropped.
 *
 * The encoder writes each field whole or not at all. Nothing here knows what a field means but for its number (enum
 * http_field_id), which decides whether it is worth a place in the dynamic table.
 *
 * Owns:    nothing; the memory of a dynamic table is the caller's, HPACK_TABLE_MEMORY(bytes) octets for each direction.
 * Life:    one decoder and one encoder per connection. A failed decoder is of no use any more (RFC 9113 4.3).
 */
#ifndef PROTO_HPACK_H
#define PROTO_HPACK_H

#include "proto/http_fields.h"

enum {
    HPACK_DECODER_BYTES = 4'096, /* SETTINGS_HEADER_TABLE_SIZE, RFC 9113 6.5.2; counted as RFC 7541 4.1 says */
    HPACK_ENCODER_BYTES = 1'024, /* enough for what responses repeat; an idle connection keeps it */
    HPACK_FIELD_OVERHEAD = 32,   /* RFC 7541 4.1, and of SETTINGS_MAX_HEADER_LIST_SIZE */
    HPACK_ENCODER_MARKS = 16,    /* fields of a response that may wait for their second time */
};

/* One entry of a dynamic table; its octets lie in the ring `octets` of the table, name first. */
struct hpack_entry {
    uint16_t offset;
    uint16_t name_length;
    uint16_t value_length;
    uint16_t id; /* enum http_field_id */
};

/* Memory of a table of `bytes`, aligned for struct hpack_entry. */
#define HPACK_TABLE_MEMORY(bytes) ((bytes) / HPACK_FIELD_OVERHEAD * sizeof(struct hpack_entry) + (bytes))

struct hpack_table {
    struct hpack_entry *entries; /* ring, newest first */
    uint8_t *octets;             /* ring */
    uint32_t capacity;           /* what the memory is for */
    uint32_t bytes_max;          /* what is agreed upon */
    uint32_t bytes;              /* with overhead */
    uint32_t first;
    uint32_t count;
    uint32_t write_at;
};

/* A decoded field: offsets into hpack_section.memory. */
struct hpack_field {
    uint32_t name_offset;
    uint32_t name_length;
    uint32_t value_offset;
    uint32_t value_length;
    uint16_t id; /* enum http_field_id; HTTP_FIELD_OTHER also for pseudo fields, which begin with ':' */
    bool never_indexed;
};

/* A field section that is being decoded. The caller sets memory, fields and their bounds, and zeroes the rest. */
struct hpack_section {
    uint8_t *memory;
    uint32_t memory_bytes;
    struct hpack_field *fields;
    uint32_t fields_max;
    uint32_t used;        /* of memory */
    uint32_t field_count; /* kept */
    uint32_t seen_count;  /* kept or not: each crumb of a cookie counts (H2-05) */
    uint64_t list_bytes;  /* of all that was seen: names, values and 32 for each */
    bool overflowed;      /* something was dropped: answer 431 */
};

struct hpack_decoder {
    struct hpack_table table;
    bool update_allowed; /* a size update may only stand at the beginning of a block, RFC 7541 4.2 */
    bool failed;
};

struct hpack_encoder {
    struct hpack_table table;
    bool update_due;
    uint32_t update_smallest; /* RFC 7541 4.2: the smallest size since the last block is said as well */
    uint32_t next_mark;
    uint32_t marks[HPACK_ENCODER_MARKS]; /* of fields that get a place in the table when they come again */
};

/* `memory`, of HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES), stays with the decoder until it is forgotten. */
void hpack_decoder_init(struct hpack_decoder *decoder, void *memory);

/* A new field block begins. */
void hpack_decode_begin(struct hpack_decoder *decoder);

/*
 * Decodes what stands whole at the beginning of `input`, and says how much that was. When the block has ended with
 * `input` and not all of it was consumed, the block is cut: a compression error as well, which is the caller's to find.
 * false: a compression error (RFC 7541: integers over 2^28 or of more than 5 octets behind the prefix, an index that is
 * not there, a size update in the wrong place or too large, Huffman coding with EOS or wrong padding); for good.
 */
[[nodiscard]] bool hpack_decode(struct hpack_decoder *decoder, struct bytes input, struct hpack_section *section,
                                size_t *ret_consumed);

/* `memory`: HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES). The first block says that the table is smaller than agreed. */
void hpack_encoder_init(struct hpack_encoder *encoder, void *memory);

/* The peer's SETTINGS_HEADER_TABLE_SIZE; we never use more than HPACK_ENCODER_BYTES of it. The next block says what we
 * use, also where that stays the same: some peers insist on it after a reduction (RFC 9113 4.3.1). */
void hpack_encoder_limit(struct hpack_encoder *encoder, uint32_t bytes);

/* Octets that hpack_encode_status() and hpack_encode() write at most for a field of this size, each, with the size
 * updates that may be due. */
size_t hpack_encoded_max(size_t name_length, size_t value_length);

/* Each writes one field at `out`, which has room as hpack_encoded_max() says (for a status: of 7 and 3 octets), and
 * returns its length. `lower_name` is in lower case. */
size_t hpack_encode_status(struct hpack_encoder *encoder, uint16_t status, uint8_t *out);
size_t hpack_encode(struct hpack_encoder *encoder, struct bytes lower_name, enum http_field_id id, struct bytes value,
                    uint8_t *out);

/* Huffman coding, RFC 7541 5.2. Decoding: octets written, or -1 for a wrong code or padding or when `capacity` does not
 * do (1.6 octets for each of input are always enough: 8 * length / 5). */
size_t hpack_huffman_length(struct bytes text);
size_t hpack_huffman_encode(struct bytes text, uint8_t *out);
int64_t hpack_huffman_decode(struct bytes input, uint8_t *out, size_t capacity);

/* Octets that decoding writes, or -1 for a wrong code or padding. */
int64_t hpack_huffman_measure(struct bytes input);

#endif
