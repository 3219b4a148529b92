"""wsgi.file_wrapper of PEP 3333."""

from io import BufferedRandom, BufferedReader, FileIO
from tempfile import _TemporaryFileWrapper

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

    def source(self):
        """The descriptor and position at which the octets are that read() would give, or None.

        Only of files that Python opened itself: what else has a fileno() may read something different from it, as
        gzip.GzipFile does.
        """
        file = self.filelike
        if type(file) is _TemporaryFileWrapper:
            file = file.file
        if type(file) is BufferedRandom:
            file.flush()
        raw = file.raw if type(file) in (BufferedReader, BufferedRandom) else file
        if type(raw) is not FileIO or not raw.readable():
            return None
        return raw.fileno(), file.tell()
