# Writes OUT, a C file with every file of IN (a list) as {name, file, text, bytes}: the table NAME of TYPE, which HEADER
# declares.  Run by cmake -P.
set(arrays "")
set(rows "")
foreach(path ${IN})
  get_filename_component(file ${path} NAME)
  get_filename_component(name ${path} NAME_WE)
  string(MAKE_C_IDENTIFIER ${file} array)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays "static const char source_${array}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", \"${file}\", source_${array}, sizeof source_${array} - 1},\n")
endforeach()
file(WRITE ${OUT} "/* Generated from files: do not edit. */\n#include \"${HEADER}\"\n\n${arrays}\n"
  "const ${TYPE} ${NAME}[] = {\n${rows}    {0, 0, 0, 0},\n};\n")
