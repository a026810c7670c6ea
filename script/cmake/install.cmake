# Installs the headers, the CMake package, and the files for pkg-config. Headers do not depend on the architecture, so all of it
# goes to the shared data directory.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/fanfare")

install(TARGETS fanfare EXPORT fanfareTargets FILE_SET HEADERS)
install(EXPORT fanfareTargets NAMESPACE fanfare:: DESTINATION "${package_dir}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/fanfareConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/fanfareConfig.cmake" INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/fanfareConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/fanfareConfig.cmake" "${PROJECT_BINARY_DIR}/fanfareConfigVersion.cmake"
  DESTINATION "${package_dir}")
install(FILES "${CMAKE_CURRENT_LIST_DIR}/server.cmake" DESTINATION "${package_dir}" RENAME fanfareServer.cmake)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/compiled.cmake" "${CMAKE_CURRENT_LIST_DIR}/compiled.cpp"
  DESTINATION "${package_dir}")

# Relative to the file itself, so that it is right under whatever prefix `cmake --install --prefix` names.
file(RELATIVE_PATH includedir_from_pc
  "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
foreach(name IN ITEMS fanfare fanfare-server fanfare-compiled)
  configure_file("${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in" "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
endforeach()

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
