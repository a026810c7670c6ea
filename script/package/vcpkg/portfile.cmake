# Untested: written after vcpkg's documentation, and never run. An overlay port, which takes the tree that it stands in:
#
#   vcpkg install 'fanfare[server]' --overlay-ports=FANFARE/script/package/vcpkg

# Headers alone: nothing differs between release and debug.
set(VCPKG_BUILD_TYPE release)
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  # The headers are the same with it and without; users' own builds look for what it needs.
  OPTIONS -DFANFARE_SERVER=AUTO
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME fanfare CONFIG_PATH share/cmake/fanfare)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
