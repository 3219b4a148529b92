#include "config/file_reader.h"

#include <errno.h>

int file_reader_read(const struct settings_file *, struct settings_arena *, struct assignment_list *,
                     struct string_list *, struct string_list *, char[SETTINGS_MESSAGE_BYTES])
{
    return -ENOSYS;
}
