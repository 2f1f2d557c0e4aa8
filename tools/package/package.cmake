# Debian packages by `cpack`: limn (the program), liblimn0 (the shared library) and liblimn-dev (for programs of others).
set(package ${CMAKE_CURRENT_LIST_DIR})
set(made ${CMAKE_CURRENT_BINARY_DIR}/package)

# What a package must have beside its files: copyright, changelog, and compressed manual pages.
foreach(component program library development)
  set(name_program limn)
  set(name_library liblimn0)
  set(name_development liblimn-dev)
  install(FILES ${package}/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name_${component}}
          COMPONENT ${component} EXCLUDE_FROM_ALL)
  if(GZIP)
    add_custom_command(OUTPUT ${made}/changelog.gz
      COMMAND ${CMAKE_COMMAND} -E make_directory ${made}
      COMMAND ${GZIP} -9nc ${package}/changelog > ${made}/changelog.gz
      DEPENDS ${package}/changelog VERBATIM)
    install(FILES ${made}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name_${component}}
            COMPONENT ${component} EXCLUDE_FROM_ALL)
  endif()
endforeach()
install(FILES ${package}/liblimn0.overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME liblimn0
        COMPONENT library EXCLUDE_FROM_ALL)
if(GZIP)
  add_custom_target(package_files ALL DEPENDS ${made}/changelog.gz)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The limn developers <limn@users.noreply.github.com>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL program library development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
    WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)

# The summary is the project's; CPack indents the lines that follow it.
set(about "limn draws pictures from text with models of the DALL-E family on any OpenCL
device: GPUs of AMD, Intel and NVIDIA, integrated graphics, CPUs. A small model
is built in; published checkpoints can be converted, and models trained.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME limn)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd")
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "${about}")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME liblimn0)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd")
file(WRITE ${made}/shlibs "liblimn 0 liblimn0 (>= ${PROJECT_VERSION})\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${package}/triggers ${made}/shlibs)
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "${about}\n.\nThis package has the shared library.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME liblimn-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "liblimn0 (= ${PROJECT_VERSION})${LIMN_DEV_PACKAGES}")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "${about}\n.\nThis package has the header, the static library, the pkg-config file and\nthe files of CMake's find_package(limn).")
include(CPack)
