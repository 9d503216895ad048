"""What lies on a disk: listings, image files, arrays, digests; and which of it is held out."""
