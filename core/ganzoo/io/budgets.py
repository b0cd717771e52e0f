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

# pickles and files of torch
PICKLE_STEPS = 500_000  # opcodes of a pickle; a checkpoint of a large GAN has about 20,000
PICKLE_OBJECTS = (
    100_000  # lists, dictionaries, sets and calls of a pickle; a checkpoint of a large GAN has about 10,000
)
PICKLE_INTEGER_BITS = 128  # of an integer
PICKLE_ITEM_BYTES = 512 << 20  # bytes of one text or byte string of a pickle: a storage of 128M float32
PICKLE_LINE_BYTES = 1 << 16  # bytes of a line, as which protocol 0 writes numbers, text and names
PICKLE_BYTES = 2 << 30  # bytes of all texts and byte strings of a pickle
PICKLE_COPIED_BYTES = 160 << 20  # bytes of text and NumPy values that are copied when a pickle is rebuilt
PICKLE_DEPTH = 100  # nested objects; a network of NVlabs has about 40
PICKLE_VALUES = 10_000_000  # values of the rebuilt tree, in which a shared value counts each time
KEY_LIMIT = (1 << 61) - 1  # integer keys of a dictionary are smaller: from there on, hashes repeat
ODD_KEYS = 2_000  # keys of a file's dictionaries that are tuples or fractions, whose hashes may all be equal
TORCH_ENTRIES = 200_000  # entries of a torch file, which is a zip
TORCH_PICKLE_BYTES = 64 << 20  # bytes of the pickle in a torch file, beside which the tensors are stored
SAFETENSORS_HEADER_BYTES = 8 << 20  # bytes of a safetensors file's header, which takes 20 times as much when read

# recipes
RECIPE_CHARACTERS = 65_536  # characters of one recipe file, or of one value of --set: seconds of reading at the worst
RECIPE_ALIASES = 200  # aliases, '*name', of one recipe: each may repeat as much as the rest of the file holds
RECIPE_BRACKETS = 2_000  # opening brackets and braces of one recipe
RECIPE_VALUES = 20_000  # values of one recipe: a recipe is small, more is an alias bomb
RECIPE_LEVELS = 50  # levels of nesting of one recipe, and steps of one key of --set
RECIPE_IMAGE_VALUES = 1 << 28  # values of one image that a recipe describes: 8192x8192 pixels of four channels

# checkpoints
BUILT_MODULES = 2_000  # modules of the networks of a checkpoint's recipe; the largest shipped have about 200
BUILT_RATIO, BUILT_BYTES = 8, 64 << 20  # a checkpoint's recipe describes at most RATIO x bytes of its file + BYTES
