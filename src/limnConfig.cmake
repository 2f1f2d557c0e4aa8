# find_package(limn): targets limn::limn (the shared library) and limn::limn_static, which brings what it links with.
include("${CMAKE_CURRENT_LIST_DIR}/limnTargets.cmake")
