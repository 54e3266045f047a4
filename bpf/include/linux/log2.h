/* BCC's helpers.h includes this file and needs nothing of it for the probe. */
