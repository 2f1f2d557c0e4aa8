# Writes OUT, a C file with every kernel file of IN (a list) as {name, text, bytes}.  Run by cmake -P.
set(arrays "")
set(rows "")
foreach(path ${IN})
  get_filename_component(name ${path} NAME_WE)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays "static const char source_${name}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", source_${name}, sizeof source_${name} - 1},\n")
endforeach()
file(WRITE ${OUT} "/* Generated from the kernel files: do not edit. */\n#include \"device/kernels.h\"\n\n${arrays}\n"
  "const kernel_source kernel_sources[] = {\n${rows}    {0, 0, 0},\n};\n")
