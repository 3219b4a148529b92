/*
 * Forwarded and X-Forwarded-For: whatever comes, spans stay inside the value, and a node is an address that reads back.
 *
 * Input: the value of one field.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>

#include "proto/forwarded.h"

enum { ELEMENTS_MAX = 100 };

static void check_inside(struct bytes part, struct bytes whole)
{
    if (part.data == NULL)
        return;
    assert(part.data >= whole.data && part.data + part.length <= whole.data + whole.length);
    assert(memchr(part.data, '"', part.length) == NULL || memchr(part.data, '\\', part.length) != NULL);
}

static void check_node(struct bytes text)
{
    struct forwarded_node node, again;
    char canonical[IP_TEXT_MAX];
    unsigned char address[16];
    if (!forwarded_node_parse(text, &node))
        return;
    if (node.is_ipv6)
        ip_text_format6(node.address, canonical);
    else
        ip_text_format4(node.address, canonical);
    assert(inet_pton(node.is_ipv6 ? AF_INET6 : AF_INET, canonical, address) == 1);
    bool same = forwarded_node_parse(bytes_of_string(canonical), &again);
    assert(same);
    assert(again.is_ipv6 == node.is_ipv6 && memcmp(again.address, node.address, sizeof node.address) == 0);
}

static void check_list(struct bytes list)
{
    size_t items = 0;
    struct bytes item;
    while (forwarded_list_pop(&list, &item)) {
        assert(memchr(item.data, ',', item.length) == NULL);
        check_node(item);
        items++;
    }
    assert(list.length == 0 && items <= 4'096);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forwarded_element elements[ELEMENTS_MAX];
    size_t count = 0;
    if (size > 4'000)
        return 0;
    uint8_t *copy = malloc(size + (size == 0));
    assert(copy);
    if (size > 0)
        memcpy(copy, data, size);
    struct bytes value = bytes_of(copy, size);
    bool good = forwarded_parse(value, elements, ELEMENTS_MAX, &count);
    assert(count <= ELEMENTS_MAX);
    for (size_t i = 0; good && i < count; i++) {
        check_inside(elements[i].node, value);
        check_inside(elements[i].proto, value);
        check_inside(elements[i].host, value);
        check_node(elements[i].node);
    }
    check_list(value);
    free(copy);
    return 0;
}
