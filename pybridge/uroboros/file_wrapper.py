"""wsgi.file_wrapper of PEP 3333."""

# The block size that an application asks for is a suggestion; small ones would cost a message each.
BLOCK_MIN = 65536


class FileWrapper:
    """An iterator over the blocks of a file-like object; close() closes that, if it can be closed."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(max(self.blksize, BLOCK_MIN))
        if data:
            return data
        raise StopIteration
