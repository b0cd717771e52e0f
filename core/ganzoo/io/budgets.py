"""Limits of what is read: how large a file may be, and how much it may claim. A sentence that refuses names its limit.

Every reader of files takes its limits from this table, so that it can be seen, and changed, in one place.
"""

# images
IMAGE_BYTES = 512 << 20  # bytes of one image file, unpacked
IMAGE_PIXELS = 89_478_485  # pixels of one image: Pillow's threshold for a decompression bomb, 1 GiB at 12 bytes a pixel
IMAGE_CHUNKS = 200_000  # chunks of a PNG, or segments of a JPEG
METADATA_BYTES = 16 << 20  # bytes of an image's metadata that are searched for its orientation
TIFF_TAGS = 4_096  # entries of a TIFF's or an EXIF block's directory; what follows is ignored
TIFF_VALUES = 16  # values of an entry that are looked at
SNIFFED_FILES = 64  # files of one suffix that are tried for images, where the suffix is that of no image
